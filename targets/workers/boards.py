"""The user's own places to run: boards, containers and environments, described in a TOML file.

The file is ``edgeq-targets.toml`` in the working directory or in the user's configuration folder,
or the one that ``EDGEQ_TARGETS`` names. Each table is a target of that name. A table with the name
of an installed target that runs in a worker may change its limits and nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeq.errors import UsageError
from edgeq.files import parse_toml
from edgeq.registry import Registry

if TYPE_CHECKING:
    from edgeq.target import Target

VARIABLE = "EDGEQ_TARGETS"
FILE = "edgeq-targets.toml"
MAX_BYTES = 2**20


def files() -> list[Path]:
    """The files that are read, the one that wins last.

    Raises:
        UsageError: the one that the environment names is not there.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_file():
            raise UsageError(
                f"{VARIABLE} names {named}, and no file is there", hint="correct or unset it"
            )
        return [Path(named)]
    config = os.environ.get("XDG_CONFIG_HOME")
    # which raises nothing for a user who has no home
    own = Path(config or os.path.expanduser("~/.config"))  # noqa: PTH111
    places = own / "edgeq", Path.cwd()
    return [place / FILE for place in places if (place / FILE).is_file()]


class Boards:
    """The targets of those files; read anew each time, because they are small and may change."""

    def names(self) -> list[str]:
        """Their names, without those that only change an installed target."""
        installed = Registry["Target"]("target").names()
        return [name for name in _tables() if name not in installed]

    def load(self, name: str) -> Target:
        """One of them.

        Raises:
            UsageError: its table is wrong.
        """
        from edgeq.targets.workers.board_config import BoardTable

        return BoardTable(*_tables()[name]).target()

    def adjust(self, name: str, target: Target) -> Target:
        """An installed target with the limits that its table gives.

        Raises:
            UsageError: its table is wrong, or the target runs in no worker.
        """
        given = _tables().get(name)
        if given is None:
            return target
        from edgeq.targets.workers.board_config import BoardTable

        return BoardTable(*given).adjusted(target)


def _tables() -> dict[str, tuple[Path, str, Any]]:
    return {
        name: (path, name, content) for path in files() for name, content in _parsed(path).items()
    }


source = Boards()


def _parsed(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(
                f"{path} has more than {MAX_BYTES} bytes", hint="is it the right file?"
            )
        return parse_toml(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", hint="check its permissions"
        ) from error
    except ValueError as error:
        raise UsageError(f"{path} is no TOML: {error}", hint="correct it there") from error
