"""Optuna is asked and told: with a seed the same, and no worse than what warmed it up."""

from __future__ import annotations

import pytest

from edgeq.calibration.search.precision import EIGHT, Precision
from edgeq.calibration.search.study import Figures, Goal, LayerSize, Study
from edgeq.calibration.search.tpe import require_optuna, tpe
from edgeq.errors import MissingDependency

LAYERS = tuple(LayerSize(name, 10, 1, 10, "Conv") for name in "abcdef")
FOUR = Precision(4, 8)
GOOD = {"a", "c", "d"}  # which can have 4 bits for nothing


def evaluate(precisions: dict[str, Precision]) -> Figures:
    lost = sum(each == FOUR and name not in GOOD for name, each in precisions.items())
    cost = sum(each.weight_bits for each in precisions.values())
    return Figures(90.0 - lost, 30.0 - lost, cost)


def searched(seed: int, trials: int = 40) -> Study:
    study = Study(LAYERS, evaluate, Goal("max-drop", 89.9), trials=trials)  # type: ignore[arg-type]
    study.attempt(study.uniform(EIGHT), "start")
    study.attempt(study.uniform(FOUR), "path")
    tpe(study, (FOUR, EIGHT), seed=seed)
    return study


def test_it_finds_the_layers_that_can_have_fewer_bits() -> None:
    pytest.importorskip("optuna")
    study = searched(0)
    best = study.best()
    assert best is not None
    assert {name for name, each in best.precisions.items() if each == FOUR} == GOOD


def test_the_same_seed_asks_the_same() -> None:
    pytest.importorskip("optuna")
    first, second, other = (searched(seed, 12).trials for seed in (1, 1, 2))
    assert [trial.precisions for trial in first] == [trial.precisions for trial in second]
    assert [trial.precisions for trial in first] != [trial.precisions for trial in other]


def test_without_it_the_command_that_brings_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeq.calibration.search.tpe.find_spec", lambda _name: None)
    with pytest.raises(MissingDependency) as refused:
        require_optuna()
    assert "pip install 'edgeq[search]'" in refused.value.hint
