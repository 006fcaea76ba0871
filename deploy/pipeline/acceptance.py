"""Whether the target that a file was written for takes it, by its own answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.errors import MissingDependency, TargetError, UnknownName
from edgeq.files import temporary_folder, write_bytes
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from edgeq.exporter import Exported
    from edgeq.target import Target


def require_taken(name: str, suffix: str, exported: Exported) -> None:
    """Return where a target opens a file, or cannot be asked here.

    Args:
        name: the target.
        suffix: the file's ending.
        exported: the file, which is not written yet.

    Raises:
        TargetError: the target refuses it.
    """
    target = _askable(name)
    if target is None:
        return
    with temporary_folder() as folder:
        path = folder / f"model{suffix}"
        write_bytes(path, exported.content)
        try:
            with target.open(path):
                return
        except TargetError as error:
            raise TargetError(
                f"{name} refuses the file that was written for it, so nothing is written: "
                f"{error.what.replace(str(path), 'the file')}",
                hint=error.hint,
            ) from error


def _askable(name: str) -> Target | None:
    """A target that works here."""
    try:
        target = TARGETS.load(name)
    except (MissingDependency, UnknownName):  # files are written for it, and none is run
        return None
    return target if target.probe().usable else None
