"""Computes the cells that a store lacks, and keeps what all of them came to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgeq.deploy.sweep.summary import figure_of
from edgeq.deploy.sweep.work import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from edgeq.deploy.sweep.cells import Cell
    from edgeq.deploy.sweep.plan import Parameters, Sweep
    from edgeq.deploy.sweep.store import CellRecord, Store
    from edgeq.deploy.sweep.work import Ended


class Engine(Protocol):
    """What computes cells."""

    def run(self, tasks: Sequence[Task], store: Store) -> Iterator[Ended]:
        """Compute cells into a store, and tell of each as it ends."""
        ...


class Runner:
    """Computes cells that are not there yet, and keeps count."""

    def __init__(
        self, sweep: Sweep, store: Store, engine: Engine, progress: Callable[[int, int], None]
    ) -> None:
        self._sweep, self._store, self._engine = sweep, store, engine
        self._progress = progress
        self.total = self.computed = self._done = 0
        self.failures: list[tuple[Parameters, str]] = []
        self.records: dict[str, CellRecord] = {}

    def compute(self, cells: Sequence[Cell]) -> None:
        """Compute those that are missing."""
        missing = []
        for cell in cells:
            found = self._store.find(cell.address)
            if found is None:
                missing.append(cell)
            else:
                self.records[cell.address] = found
        self._done += len(cells) - len(missing)
        self._progress(self._done, self.total)
        modules = str(Path.cwd())
        tasks = [Task(cell, self._sweep.work, self._sweep.needs, modules) for cell in missing]
        for ended in self._engine.run(tasks, self._store) if tasks else ():
            self._done += 1
            found = self._store.find(ended.cell.address)
            if found is None:
                self.failures.append((ended.cell.parameters, ended.error))
            else:
                self.computed += 1
                self.records[ended.cell.address] = found
            self._progress(self._done, self.total)

    def mean(self, cells: Iterable[Cell], figure: str) -> float | None:
        """Of a figure over cells; None where none has it."""
        records = (self.records.get(cell.address) for cell in cells)
        values = [each.figures[figure] for each in records if each and figure in each.figures]
        return figure_of(values).mean if values else None
