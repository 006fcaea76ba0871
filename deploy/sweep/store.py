"""The cells that are computed, each a folder that is whole or not there."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeq.errors import ArtefactError, OutputError, UsageError
from edgeq.files.scratch import discard_left, scratch
from edgeq.machine import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from edgeq.deploy.sweep.cells import Cell

SCHEMA = "edgeq.cell/1"
FILE = "cell.json"
_CELLS = "cells"
_FAILED = "failed"
_CELL = re.compile(r"[0-9a-f]{30,}")


@dataclass(frozen=True, slots=True)
class CellRecord:
    """What a cell came to.

    Attributes:
        address: of the cell.
        parameters: of it.
        figures: by name.
        seconds: that it took.
        date: when it ended.
        cpu: of the machine that computed it.
        code: the first digits of the hash of edgeq's code that did.
    """

    address: str
    parameters: Mapping[str, Any]
    figures: Mapping[str, float]
    seconds: float
    date: str = ""
    cpu: str = ""
    code: str = ""


@dataclass(slots=True)
class Unfinished:
    """A cell that is being written.

    Attributes:
        folder: where.
        whole: whether all of it is there.
    """

    folder: Path
    whole: bool = False


class Store:
    """A folder of cells. Several processes, and several machines, may write into one.

    Args:
        root: of the sweep; made where it is not there.

    Raises:
        OutputError: it cannot be written, or holds something else.
    """

    def __init__(self, root: Path) -> None:
        self.root, self._cells = root, root / _CELLS
        if (
            root.exists()
            and not self._cells.is_dir()
            and (not root.is_dir() or any(root.iterdir()))
        ):
            raise OutputError(
                f"{root} is there already and holds no sweep", hint="choose another place with -o"
            )
        try:
            self._cells.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{root} cannot be written: {error.strerror}", hint="choose another place with -o"
            ) from error

    def folder_of(self, address: str) -> Path:
        """Where a cell is, or would be."""
        return self._cells / address[:2] / address[2:34]

    def find(self, address: str) -> CellRecord | None:
        """A cell; None where it is not computed yet.

        Raises:
            ArtefactError: it is there and cannot be read.
        """
        path = self.folder_of(address) / FILE
        try:
            content = json.loads(path.read_bytes())
            known = content["schema"] == SCHEMA and content["address"] == address
            record = CellRecord(
                address,
                content["parameters"],
                content["figures"],
                content["seconds"],
                **{name: str(content.get(name, "")) for name in ("date", "cpu", "code")},
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            known, record = False, None
        if record is None or not known:
            raise ArtefactError(
                f"{path} is broken", hint=f"delete the folder {path.parent}; it is computed again"
            )
        return record

    @contextmanager
    def writing(self, cell: Cell) -> Iterator[Unfinished]:
        """A folder for the files of a cell, which becomes its own where they are whole."""
        place = self.folder_of(cell.address)
        place.parent.mkdir(exist_ok=True)
        with scratch(place.parent, _unfinished(place)) as made:
            unfinished = Unfinished(made)
            yield unfinished
            if unfinished.whole:
                self._keep(made, place)

    def log_of(self, address: str) -> Path:
        """Where the log of a cell is kept that failed."""
        return self.root / _FAILED / f"{address[:16]}.txt"

    def keep_log(self, address: str, text: str) -> Path:
        """Keep what a cell said before it failed; gives where."""
        path = self.log_of(address)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="replace")
        return path

    def discard_unfinished(self, address: str) -> bool:
        """Remove what a process that died has left of a cell; whether there was any."""
        place = self.folder_of(address)
        return discard_left(place.parent, _unfinished(place))

    def discard_left(self) -> None:
        """Remove what killed processes have left of any cells."""
        for folder in self._cells.iterdir():
            discard_left(folder)

    def _keep(self, made: Path, place: Path) -> None:
        made.chmod(0o755)
        try:
            made.rename(place)
        except OSError:
            if not (place / FILE).is_file():  # else another process was faster, with the same
                raise

    def take_from(self, other: Path) -> int:
        """Copy the cells of another sweep's folder that are not here yet.

        Returns:
            How many.

        Raises:
            UsageError: it holds no cells.
        """
        if not (other / _CELLS).is_dir():
            raise UsageError(
                f"{other} holds no sweep", hint="name a folder that edgeq sweep -o has written"
            )
        copied = 0
        for path in sorted((other / _CELLS).glob(f"*/*/{FILE}")):
            place = self._cells / path.parent.relative_to(other / _CELLS)
            if not _CELL.fullmatch(path.parent.name) or place.exists():
                continue
            place.parent.mkdir(exist_ok=True)
            with scratch(place.parent, _unfinished(place)) as made:
                shutil.copytree(path.parent, made, dirs_exist_ok=True)
                self._keep(made, place)
            copied += 1
        return copied


def _unfinished(place: Path) -> str:
    return f"{place.name[:12]}-"


def write_record(
    folder: Path, cell: Cell, figures: Mapping[str, float], seconds: float, code: str
) -> None:
    """Write what a cell came to into its folder, last of all its files."""
    import platform
    from datetime import UTC, datetime

    content = {
        "schema": SCHEMA,
        "address": cell.address,
        "parameters": cell.parameters,
        "steps": cell.steps,
        "figures": figures,
        "seconds": seconds,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": platform.node(),
        "cpu": fingerprint().cpu,
        "code": code[:16],
    }
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    (folder / FILE).write_text(text, encoding="utf-8")
