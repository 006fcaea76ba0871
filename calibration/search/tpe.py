"""Search by Optuna: tree-structured Parzen estimators, asked and told, with a seed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from edgeq.errors import MissingDependency

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.calibration.search.precision import Precision
    from edgeq.calibration.search.study import Assignment, Figures, Study

_BEYOND = 1e3
"""What a trial beyond the limit is worse by than any within it; then by how far it is beyond."""


def require_optuna() -> None:
    """Check that Optuna is there.

    Raises:
        MissingDependency: it is not; names the command that brings it.
    """
    if find_spec("optuna") is None:
        raise MissingDependency("strategy", "optuna", "optuna", ("search",))


def tpe(study: Study, precisions: Sequence[Precision], *, seed: int) -> None:
    """Ask and tell until there are no trials left; what was tried before is told first.

    Args:
        study: with the trials that warm it up.
        precisions: those that a layer can have.
        seed: of what is asked; the same one asks the same.
    """
    optuna: Any = import_module("optuna")  # which need not be there for the types to be checked
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=0)
    asked = optuna.create_study(sampler=sampler)
    names = {each.name: each for each in precisions}
    space: dict[str, Any] = {
        layer.name: optuna.distributions.CategoricalDistribution(list(names))
        for layer in study.layers
    }
    for known in study.trials:
        if all(each.name in names for each in known.precisions.values()):
            asked.add_trial(
                optuna.trial.create_trial(
                    params={name: each.name for name, each in known.precisions.items()},
                    distributions=space,
                    value=_value(study, known.figures),
                )
            )
    repeated = 0
    while study.open and repeated < 2 * len(study.layers) + 20:
        question = asked.ask(space)
        precisions_asked: Assignment = {
            layer.name: names[question.params[layer.name]] for layer in study.layers
        }
        before = len(study.trials)
        trial = study.attempt(precisions_asked, "optuna")
        repeated = 0 if len(study.trials) > before else repeated + 1
        asked.tell(question, _value(study, trial.figures))


def _value(study: Study, figures: Figures) -> float:
    """One figure to minimise: what the goal ranks first, in the order of its first trial."""
    over = study.goal.excess(figures)
    scale = abs(study.goal.limit) or 1.0
    if over > 1e-9:
        return _BEYOND * (1.0 + over / scale)
    if study.goal.direction == "max-drop":
        return figures.cost / study.trials[0].figures.cost
    score = -figures.score if study.goal.higher_is_better else figures.score
    return score - min(figures.sqnr_db, 100.0) * 1e-3
