"""Strategies on a network whose noise is known: they find what can be worked out by hand."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from edgeq.calibration.search.greedy import greedy
from edgeq.calibration.search.keep_float import keep_float
from edgeq.calibration.search.path import follow, path
from edgeq.calibration.search.precision import EIGHT, FLOAT, Precision, parse
from edgeq.calibration.search.sensitivity import sensitivities
from edgeq.calibration.search.study import Figures, Goal, LayerSize, Study, pareto
from edgeq.deploy.search.costs import layer_bytes
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from edgeq.calibration.search.study import Assignment

LAYERS = tuple(
    LayerSize(name, weights, 4, 10 * weights, "Conv")
    for name, weights in (("a", 100), ("b", 1000), ("c", 400), ("d", 40))
)
WEIGHT = {"a": 1.0, "b": 0.01, "c": 0.1, "d": 4.0}
"""How much noise a layer adds, beside one of weight 1."""
FOUR = Precision(4, 8)


def noise(name: str, precision: Precision) -> float:
    """Of a layer: a quarter for each bit of its weights more, as of rounding."""
    if precision.is_float:
        return 0.0
    bits = precision.channel_bits or (precision.weight_bits,)
    return WEIGHT[name] * sum(4.0**-each for each in bits) / len(bits)


def evaluate(precisions: Assignment) -> Figures:
    """Noise adds up; a point is lost for each 1 %."""
    total = sum(noise(name, each) for name, each in precisions.items())
    cost = sum(layer_bytes(layer, precisions[layer.name]) for layer in LAYERS)
    sqnr = -10 * math.log10(total) if total else math.inf
    return Figures(90.0 - 100 * total, sqnr, cost)


def study(limit: float, direction: str = "max-drop", trials: int = 200) -> Study:
    return Study(
        LAYERS,
        evaluate,
        Goal("budget" if direction == "budget" else "max-drop", limit),
        trials=trials,
    )


KNOWN = sensitivities(LAYERS, (FOUR, EIGHT), evaluate, float_score=90.0)


def test_each_layer_is_looked_at_alone() -> None:
    assert [(each.layer, each.precision) for each in KNOWN] == [
        *((layer.name, "w8a8") for layer in LAYERS),
        *((layer.name, "w4a8") for layer in LAYERS),
    ]
    found = {(each.layer, each.precision): each for each in KNOWN}
    assert found["d", "w4a8"].drop == pytest.approx(100 * 4 * 4.0**-4)
    assert found["b", "w8a8"].noise == pytest.approx(0.01 * 4.0**-8)


def test_no_time_leaves_sensitivities_out() -> None:
    assert (
        sensitivities(LAYERS, (FOUR,), evaluate, float_score=90.0, open_still=lambda: False) == ()
    )


def test_the_path_lowers_the_layer_that_costs_least_first() -> None:
    steps = path(LAYERS, (FOUR, EIGHT), KNOWN, layer_bytes)
    lowered = [
        next(name for name in after if after[name] != before[name])
        for before, after in pairwise(steps)
    ]
    assert lowered == ["b", "c", "a", "d"]


@pytest.mark.parametrize("drop", [0.0, 0.02, 0.05, 0.5, 3.0])
def test_the_path_finds_the_least_bytes_within_a_loss(drop: float) -> None:
    tried = study(90.0 - drop)
    steps = path(LAYERS, (FOUR, EIGHT), KNOWN, layer_bytes)
    follow(tried, steps)
    kept = [step for step in steps if evaluate(step).score >= 90.0 - drop]
    best = tried.best()
    if not kept:
        assert best is None
    else:
        assert best is not None
        assert best.figures.cost == min(evaluate(step).cost for step in kept)
    assert len(tried.trials) <= 5 + len(LAYERS)


def test_the_path_finds_the_best_score_within_a_budget() -> None:
    limit = evaluate(dict.fromkeys("abcd", EIGHT)).cost * 0.7
    tried = study(limit, "budget")
    follow(tried, path(LAYERS, (FOUR, EIGHT), KNOWN, layer_bytes))
    best = tried.best()
    assert best is not None
    assert best.figures.cost <= limit
    assert best.precisions["b"] == FOUR
    assert best.precisions["d"] == EIGHT


def test_greedy_takes_bits_from_the_network_then_layers_then_neurons() -> None:
    costs = []
    for grain in ("network", "layer", "neuron"):
        tried = study(90.0 - 0.8)
        greedy(tried, grain)
        best = tried.best()
        assert best is not None
        assert best.figures.score >= 89.2
        costs.append(best.figures.cost)
    assert costs[0] > costs[1] > costs[2]
    uniform = study(90.0 - 0.8)
    greedy(uniform, "network")
    best = uniform.best()
    assert best is not None
    # the noise of all layers is 5.11 / 4^bits: 5 bits lose 0.5 points, 4 bits lose 2.0
    assert {each.weight_bits for each in best.precisions.values()} == {5}


def test_greedy_ends_where_a_neuron_more_would_lose_too_much() -> None:
    tried = study(90.0 - 0.8)
    greedy(tried, "neuron")
    best = tried.best()
    assert best is not None
    for layer in LAYERS:
        now = best.precisions[layer.name]
        assert len(now.channel_bits) in (0, layer.channels)
        assert max(now.channel_bits, default=now.weight_bits) == now.weight_bits
    assert any(len({*each.channel_bits}) > 1 for each in best.precisions.values())


def test_float_is_kept_for_the_most_sensitive_only() -> None:
    tried = study(90.0 - 0.4)
    known = sensitivities(LAYERS, (FOUR,), evaluate, float_score=90.0)
    keep_float(tried, FOUR, known)
    best = tried.best()
    assert best is not None
    assert best.precisions == {"a": FLOAT, "b": FOUR, "c": FOUR, "d": FLOAT}
    assert [trial.kept for trial in tried.trials] == [False, False, True]


def test_a_budget_has_no_loss_to_stay_within() -> None:
    with pytest.raises(UsageError, match="--max-drop"):
        greedy(study(1.0, "budget"), "layer")
    with pytest.raises(UsageError, match="--max-drop"):
        keep_float(study(1.0, "budget"), FOUR, KNOWN)


def test_a_study_tries_nothing_twice_and_ends() -> None:
    tried = study(90.0, trials=2)
    first = tried.attempt(tried.uniform(EIGHT), "x")
    assert tried.attempt(tried.uniform(EIGHT), "y") is first
    assert (tried.open, tried.left) == (True, 1)
    tried.attempt(tried.uniform(FOUR), "x")
    assert not tried.open
    assert tried.best() is None
    assert tried.nearest() is first


def test_what_none_beats_is_in_the_order_of_its_cost() -> None:
    tried = study(0.0)
    for bits in (8, 4, 6):
        tried.attempt(tried.uniform(Precision(bits, 8)), "x")
    tried.attempt({**tried.uniform(Precision(6, 8)), "b": EIGHT, "d": Precision(2, 8)}, "x")
    assert [trial.number for trial in pareto(tried.trials)] == [1, 2, 0]


@pytest.mark.parametrize("name", ["w4a8", "w8a16", "w2a2", "float"])
def test_precisions_by_name(name: str) -> None:
    assert parse(name).name == name


@pytest.mark.parametrize("name", ["w9a8", "w1a8", "w8", "int8", "w4a32", "w8a12"])
def test_what_is_no_precision_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no precision"):
        parse(name)


def test_the_work_of_a_precision() -> None:
    assert (EIGHT.work, FOUR.work, FLOAT.work) == (1.0, 0.5, 16.0)
    mixed = Precision(6, 8, (2, 6, 4, 4))
    assert (mixed.name, mixed.mean_weight_bits) == ("w2-6a8", 4.0)
