"""Cells chosen by what earlier ones came to: Optuna's ask and tell, under limits."""

from __future__ import annotations

import math
from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgeq.calibration.search.tpe import require_optuna
from edgeq.deploy.sweep.cells import cell_of

if TYPE_CHECKING:
    from edgeq.deploy.sweep.cells import Cell
    from edgeq.deploy.sweep.plan import Search, Sweep
    from edgeq.deploy.sweep.runner import Runner

_BEYOND = 1e12
"""What a configuration beyond a limit is told to cost, at least; more, the farther it is."""
_ASKS = 20
"""How often the sampler is asked for each configuration that is wanted: it may repeat itself."""


def searched(sweep: Sweep, search: Search, runner: Runner) -> list[Cell]:
    """Try configurations, a batch at a time; gives the cells of all that were tried.

    What is tried depends on the seed and the batch, not on which cell ends first.

    Raises:
        MissingDependency: Optuna is not installed.
    """
    require_optuna()
    optuna: Any = import_module("optuna")  # which need not be there for the types to be checked
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=search.seed))
    choices: dict[str, Any] = {
        name: optuna.distributions.CategoricalDistribution(values)
        for name, values in sweep.grid.items()
        if name != sweep.repeat
    }
    most = min(search.trials, math.prod(len(each.choices) for each in choices.values()))
    runner.total = most * len(sweep.repeats)
    tried: dict[tuple[Any, ...], list[Cell]] = {}
    asked = 0
    while len(tried) < most and asked < _ASKS * most:
        batch = []
        for _ in range(min(search.batch, most - len(tried))):
            trial = study.ask(choices)
            asked += 1
            values = tuple(trial.params[name] for name in choices)
            if values not in tried:
                configuration = dict(zip(choices, values, strict=True))
                tried[values] = [
                    cell_of(sweep, sweep.repeated(configuration, each)) for each in sweep.repeats
                ]
            batch.append((trial, tried[values]))
        cells = {cell.address: cell for _, each in batch for cell in each}
        runner.compute([cell for cell in cells.values() if cell.address not in runner.records])
        for trial, each in batch:
            study.tell(trial, _cost(sweep, search, runner, each))
    return [cell for cells in tried.values() for cell in cells]


def _cost(sweep: Sweep, search: Search, runner: Runner, cells: list[Cell]) -> float:
    """One figure to minimise."""
    mean = runner.mean(cells, search.figure)
    over = 0.0
    for name, limit in search.limits.items():
        held = runner.mean(cells, name)
        over += math.inf if held is None else max(held - limit, 0.0) / (abs(limit) or 1.0)
    if mean is None or over > 0:
        return _BEYOND * (1.0 + min(over, _BEYOND))
    return -mean if search.figure in sweep.maximize else mean
