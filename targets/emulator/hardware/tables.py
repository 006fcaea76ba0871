"""One table of a hardware profile's file.

Typed fields, and refusals that name file, table and field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from edgeq.errors import ArtefactError, UnknownName
from edgeq.targets.emulator.hardware.speed import SourcedFigure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

WIDEST_OPERAND = 16


class ProfileTable:
    """One table of a file.

    Args:
        origin: the file, for messages.
        table: what it is called in it; empty for the whole file.
        content: what stands in it.
        known: its fields, where no other is allowed.

    Raises:
        ArtefactError: it is no table; likewise each of the methods, where a field is not what it
            has to be.
    """

    def __init__(self, origin: str, table: str, content: Any, known: Iterable[str] = ()) -> None:
        self.origin, self.name, self.content = origin, table, content
        if not isinstance(content, dict):
            raise ArtefactError(
                f"{origin}: {table} is no table", hint=f"write [{table}] and its fields below it"
            )
        if known:
            self.allow(known)

    def allow(self, known: Iterable[str]) -> None:
        """Refuse a field of another name."""
        for field in self.content:
            if field not in known:
                error = UnknownName("field", field, known)
                raise ArtefactError(
                    f"{self.origin}: {self._called(field)} means nothing in a hardware profile",
                    hint=error.hint,
                )

    def wrong(self, field: str, why: str, hint: str) -> ArtefactError:
        """The error for a field."""
        return ArtefactError(f"{self.origin}: {self._called(field)}: {why}", hint=hint)

    def table(self, field: str) -> ProfileTable:
        """A table inside."""
        return ProfileTable(self.origin, self._called(field), self._get(field))

    def tables(self, field: str) -> list[ProfileTable]:
        """Tables inside, at least one."""
        found = self._get(field)
        if not isinstance(found, list) or not found:
            raise self.wrong(
                field,
                "it is no list of tables",
                f"write [[{self._called(field)}]] and the fields of one rate below it",
            )
        return [ProfileTable(self.origin, self._called(field), each) for each in found]

    def text(self, field: str) -> str:
        """Words for people, not empty."""
        found = self._get(field)
        if not isinstance(found, str) or not found.strip():
            raise self.wrong(field, f"{found!r} says nothing", "write a line of text")
        return found

    def word(self, field: str, kind: Any, default: str | None = None) -> Any:
        """One of the words of a Literal."""
        found = self.content.get(field, default) if default is not None else self._get(field)
        if found not in get_args(kind):
            raise self.wrong(
                field, f"{found!r} is not known", f"use one of {', '.join(get_args(kind))}"
            )
        return found

    def words(self, field: str, known: Mapping[str, object]) -> list[str]:
        """Some of the words known; none where the field is left out."""
        found = self.content.get(field, [])
        if not isinstance(found, list) or any(each not in known for each in found):
            raise self.wrong(
                field, f"{found!r} is not a list of types", f"choose from {', '.join(known)}"
            )
        return found

    def whole(self, field: str, least: int, most: int) -> int:
        """A whole number within bounds."""
        return self._bounded(field, self._get(field), least, most)

    def span(self, field: str) -> tuple[int, int]:
        """The smallest and the largest width of operands."""
        found = self.content.get(field, [1, WIDEST_OPERAND])
        if not isinstance(found, list) or len(found) != 2:
            raise self.wrong(field, f"{found!r} is not a min and a max width", "write [1, 8], say")
        least, most = (self._bounded(field, each, 1, WIDEST_OPERAND) for each in found)
        if least > most:
            raise self.wrong(
                field, f"no width lies between {least} and {most}", f"write [{most}, {least}]"
            )
        return least, most

    def flag(self, field: str, *, default: bool) -> bool:
        """True or false."""
        found = self.content.get(field, default)
        if not isinstance(found, bool):
            raise self.wrong(field, f"{found!r} is neither true nor false", "write true or false")
        return found

    def figure(self, field: str) -> SourcedFigure:
        """A positive number with its source."""
        reader = self.table(field)
        reader.allow(("value", "source", "assumed"))
        return reader.own_figure()

    def own_figure(self) -> SourcedFigure:
        """The figure that this table itself is."""
        found = self._get("value")
        if (
            isinstance(found, bool)
            or not isinstance(found, int | float)
            or not 0 < found < float("inf")
        ):
            raise self.wrong(
                "value", f"{found!r} is no positive number", "write one, with its source"
            )
        return SourcedFigure(float(found), self.text("source"), self.flag("assumed", default=False))

    def _bounded(self, field: str, found: object, least: int, most: int) -> int:
        if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
            raise self.wrong(
                field, f"{found!r} is no whole number from {least} to {most}", "correct it there"
            )
        return found

    def _get(self, field: str) -> Any:
        if field not in self.content:
            raise self.wrong(
                field,
                "it is missing",
                "every profile needs it; those that come with edgeq show how it is written",
            )
        return self.content[field]

    def _called(self, field: str) -> str:
        return f"{self.name}.{field}" if self.name else field
