"""Run what a sweep lacks, and tell what its cells come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.deploy.sweep.cells import cell_of
from edgeq.deploy.sweep.experiments import check_parameters
from edgeq.deploy.sweep.orderings import decide
from edgeq.deploy.sweep.report import write_report
from edgeq.deploy.sweep.runner import Runner
from edgeq.deploy.sweep.store import Store
from edgeq.deploy.sweep.summary import as_csv, summarize
from edgeq.errors import UsageError
from edgeq.factories import is_reference, permit
from edgeq.files import write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edgeq.deploy.pipeline.shards import Shard
    from edgeq.deploy.sweep.cells import Cell
    from edgeq.deploy.sweep.orderings import Decision
    from edgeq.deploy.sweep.plan import Parameters, Sweep
    from edgeq.deploy.sweep.runner import Engine
    from edgeq.deploy.sweep.summary import Row

TABLE = "table.csv"


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep came to.

    Attributes:
        rows: the configurations that have a cell.
        cells: how many cells the sweep has, here or in its shard.
        computed: how many were computed now.
        missing: how many are not there, failed or not tried.
        failures: parameters of a cell, and what went wrong.
        stopped: configurations that got no more repeats.
        chosen: for a search, the best configuration within its limits; None where there is none.
        decisions: what the cells say of each claim of [[ordering]].
    """

    rows: tuple[Row, ...]
    cells: int
    computed: int
    missing: int
    failures: tuple[tuple[Parameters, str], ...]
    stopped: tuple[Parameters, ...]
    chosen: Row | None
    decisions: tuple[Decision, ...] = ()


def run_sweep(
    sweep: Sweep,
    output: Path,
    engine: Engine,
    *,
    code: Sequence[str] = (),
    shard: Shard | None = None,
    merged: Sequence[Path] = (),
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> SweepResult:
    """Compute the cells of a sweep that are not there yet.

    Args:
        sweep: the sweep.
        output: the folder of its cells; another grid's may be in it, too.
        engine: what computes.
        code: functions of somebody's own that cells may call.
        shard: compute only this part; None for all cells.
        merged: folders whose cells are taken over first.
        progress: called with the cells done, and all.

    Raises:
        OutputError: the folder cannot be written.
        UsageError: a step cannot be used, code is not named, or a shard is asked of a sweep that
            chooses its cells by what others come to.
    """
    _check_code(sweep, code)
    if sweep.work.experiment:
        check_parameters(sweep.work.experiment, sweep.grid)
    if shard is not None and (sweep.search or sweep.early_stop):
        raise UsageError(
            "a sweep with [search] or [stop] chooses cells by what others come to: it has no parts",
            hint="leave --shard out, or use --engine ray",
        )
    store = Store(output)
    store.discard_left()
    for folder in merged:
        store.take_from(folder)
    runner = Runner(sweep, store, engine, progress)
    stopped: tuple[Parameters, ...] = ()
    if sweep.search is not None:
        from edgeq.deploy.sweep.search import searched

        cells = searched(sweep, sweep.search, runner)
    else:
        cells, stopped = _whole_grid(sweep, runner, shard)
    records = tuple(runner.records.values())
    rows = summarize(sweep, records)
    decisions = tuple(decide(each, records) for each in sweep.orderings)
    if rows:
        write_text(output / TABLE, as_csv(sweep, rows), overwrite=True)
        write_report(sweep, output, rows, records, decisions)
    missing = len(cells) - len(runner.records)
    return SweepResult(
        rows,
        len(cells),
        runner.computed,
        missing,
        tuple(runner.failures),
        stopped,
        _chosen(sweep, rows),
        decisions,
    )


def _whole_grid(
    sweep: Sweep, runner: Runner, shard: Shard | None
) -> tuple[list[Cell], tuple[Parameters, ...]]:
    """Every cell, or those of a part; or a round of repeats after the other."""
    grid = [
        [cell_of(sweep, sweep.repeated(each, value)) for value in sweep.repeats]
        for each in sweep.configurations()
    ]
    stop = sweep.early_stop
    if stop is None:
        cells = [cell for row in grid for cell in row if _in_shard(cell, shard)]
        runner.total = len(cells)
        runner.compute(cells)
        return cells, ()
    runner.total = sum(map(len, grid))
    first = [cell for row in grid for cell in row[: stop.after]]
    runner.compute(first)
    way = 1 if stop.figure in sweep.maximize else -1
    means = [runner.mean(row[: stop.after], stop.figure) for row in grid]
    best = max((way * mean for mean in means if mean is not None), default=0.0)
    kept, stopped = [], []
    for row, mean in zip(grid, means, strict=True):
        if mean is not None and best - way * mean > stop.behind:
            parameters = dict(row[0].parameters)
            parameters.pop(sweep.repeat, None)
            stopped.append(parameters)
        else:
            kept += row[stop.after :]
    runner.total = len(first) + len(kept)
    runner.compute(kept)
    return [*first, *kept], tuple(stopped)


def _in_shard(cell: Cell, shard: Shard | None) -> bool:
    return shard is None or int(cell.address, 16) % shard.count == shard.number - 1


def _check_code(sweep: Sweep, code: Sequence[str]) -> None:
    """Import what the user has named, and refuse what only the file names."""
    for reference in code:
        permit(reference)
    words = [sweep.work.function] if sweep.work.function else []
    words += [word for step in sweep.work.steps for word in step.split()]
    words += [str(value) for values in sweep.grid.values() for value in values]
    named = [word.rpartition("=")[2] for word in words]
    for reference in filter(is_reference, named):
        if reference not in code:
            raise UsageError(
                f"the sweep calls code of somebody's own, {reference}",
                hint=f"where you trust it, name it yourself: --code {reference}",
            )


def _chosen(sweep: Sweep, rows: Sequence[Row]) -> Row | None:
    """The best row within the limits of a search."""
    search = sweep.search
    if search is None:
        return None
    way = 1 if search.figure in sweep.maximize else -1
    within = [
        row
        for row in rows
        if search.figure in row.figures
        and all(
            name in row.figures and row.figures[name].mean <= limit
            for name, limit in search.limits.items()
        )
    ]
    return max(within, key=lambda row: way * row.figures[search.figure].mean, default=None)
