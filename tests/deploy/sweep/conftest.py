"""Sweeps of a planted function, and an engine that computes in this very process."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from edgeq.deploy.sweep.work import Ended, attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from edgeq.deploy.sweep.store import Store
    from edgeq.deploy.sweep.work import Task

CODE = """
import os, signal, time
from pathlib import Path

def score(x, seed):
    return {"score": 100 - (x - 3) ** 2 + 0.5 * seed, "cost": x}

def odd(x, seed):
    if x == 1:
        raise ValueError("no good")
    if x == 2:
        return {"score": float("nan")}
    return [x] if x == 3 else {"score": x}

def dies(x, seed):
    mark = Path(os.environ["PLANTED"]) / f"died-{x}"
    if x == 2 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if x == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"score": x}

def patient(x, seed):
    signal.signal(signal.SIGTERM, lambda *_: None)
    (Path(os.environ["PLANTED"]) / "begun").touch()
    time.sleep(600)
"""
GRID = """
[grid]
x = [1, 2, 3, 4]
seed = [0, 1]
[cell]
function = "planted_cells:{function}"
[report]
maximize = ["score"]
minimize = ["cost"]
"""


class Inline:
    """Computes cells one after the other, here."""

    def __init__(self) -> None:
        self.computed: list[dict[str, object]] = []

    def run(self, tasks: Sequence[Task], store: Store) -> Iterator[Ended]:
        """Compute cells, and tell of each."""
        for task in tasks:
            self.computed.append(dict(task.cell.parameters))
            with store.writing(task.cell) as unfinished:
                error, log = attempt(task, unfinished.folder)
                unfinished.whole = not error
            if error:
                store.keep_log(task.cell.address, log)
            yield Ended(task.cell, error)


@pytest.fixture
def engine() -> Inline:
    """One that keeps what it was asked for."""
    return Inline()


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A sweep file of one of the planted functions, in the current folder with its module."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("PLANTED", str(tmp_path))
    monkeypatch.delitem(sys.modules, "planted_cells", raising=False)
    (tmp_path / "planted_cells.py").write_text(CODE)

    def make(function: str = "score", more: str = "") -> Path:
        path = tmp_path / "planted.toml"
        path.write_text(GRID.format(function=function) + more)
        return path

    return make
