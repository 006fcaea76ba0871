"""One table of names for each kind of plug-in; nothing heavy is imported until a name is asked for.

Our own targets, exporters, models, data sets and checkpoint loaders enter by the door anybody
else's do: an entry point in the group ``edgeq.targets``, ``edgeq.exporters``, … of the
distribution's metadata.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, cast

from edgeq.errors import BrokenPlugin, EdgeqError, MissingDependency, UnknownName, first_line

T = TypeVar("T")


@cache
def installed(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of a group, as they were when it was first asked for."""
    return tuple(entry_points(group=group))


class Registry(Generic[T]):
    """The names registered for one kind of plug-in, and what each of them loads.

    Args:
        kind: the singular noun used in messages; the entry-point group is ``edgeq.<kind>s``, with
            underscores for spaces.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._group = f"edgeq.{kind.replace(' ', '_')}s"

    def _entries(self) -> dict[str, EntryPoint]:
        found: dict[str, EntryPoint] = {}
        for entry in installed(self._group):
            seen = found.setdefault(entry.name, entry)
            if seen.value != entry.value:
                raise EdgeqError(
                    f"two {self.kind}s are called {entry.name!r}: {seen.value} and {entry.value}",
                    hint="uninstall one of the two packages, or rename its entry point",
                )
        return found

    def names(self) -> list[str]:
        """Every registered name, sorted; imports nothing."""
        return sorted(self._entries())

    def load(self, name: str) -> T:
        """Import and return what ``name`` stands for.

        Raises:
            UnknownName: nothing is registered under this name.
            MissingDependency: it is, but a package it needs is not installed.
            BrokenPlugin: another package registers it, and it cannot be imported.
        """
        entries = self._entries()
        if name not in entries:
            raise UnknownName(self.kind, name, entries)
        entry = entries[name]
        ours = entry.value.startswith("edgeq.")
        try:
            return cast("T", entry.load())
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] == "edgeq":
                raise
            if not ours and error.name.split(".")[0] == entry.module.split(".")[0]:
                raise BrokenPlugin(self.kind, name, f"cannot be imported: {error}") from error
            raise MissingDependency(self.kind, name, error.name, entry.extras) from error
        except Exception as error:
            if ours or isinstance(error, EdgeqError):
                raise
            raise BrokenPlugin(
                self.kind, name, f"cannot be imported: {first_line(error)}"
            ) from error
