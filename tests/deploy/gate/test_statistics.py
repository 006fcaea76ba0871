"""The tests of a gate err no more often than they say; benchmarks/gate_statistics.py tries more."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeq.deploy.gate import statistics
from edgeq.deploy.gate.statistics import ALPHA, POWER, Paired, Spread
from edgeq.metrics.accuracy import mcnemar
from edgeq.metrics.resampling import bootstrap_weights

GATES = 10_000
NOISE = 3 * math.sqrt(0.05 / GATES)  # of a share of so many simulated gates


def outcomes(samples: int, loss: float, gain: float) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(samples)
    found = random.multinomial(samples, [loss, gain, 1 - loss - gain], GATES)
    return found[:, 0], found[:, 1]


@pytest.mark.parametrize("samples", [60, 360, 5_000])
@pytest.mark.parametrize("margin", [0.0, 0.01])
@pytest.mark.parametrize("changing", [0.004, 0.1])
def test_false_alarms_are_at_most_what_is_stated(
    samples: int, margin: float, changing: float
) -> None:
    lost, won = outcomes(samples, margin + changing / 2, changing / 2)
    assert (statistics.worse_p(lost, won, samples, margin) <= ALPHA).mean() <= ALPHA / 2 + NOISE
    assert (statistics.worse_p(won, lost, samples, margin) <= ALPHA).mean() <= ALPHA / 2 + NOISE
    if margin:
        alike = statistics.equivalent_p(lost, won, samples, margin) <= ALPHA
        assert alike.mean() <= ALPHA + NOISE


@pytest.mark.parametrize(("loss", "gain"), [(0.03, 0.01), (0.05, 0.05)])
def test_intervals_cover_the_truth_in_95_of_100(loss: float, gain: float) -> None:
    low, high = statistics.drop_interval(*outcomes(500, loss, gain), 500)
    covered = ((low <= loss - gain) & (loss - gain <= high)).mean()
    assert covered == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("samples", [50, 300])
@pytest.mark.parametrize("errors", ["normal", "rises", "falls"])
def test_what_a_bootstrap_says_errs_no_more_often_than_stated(samples: int, errors: str) -> None:
    """Means of paired differences, and those of which few are large, which the level allows for."""
    random, gates = np.random.default_rng(1), 4_000
    weights = bootstrap_weights(samples, statistics.RESAMPLES).astype(float)
    found = {
        "normal": lambda: random.standard_normal((gates, samples)),
        "rises": lambda: random.exponential(1.0, (gates, samples)) - 1,
        "falls": lambda: 1 - random.exponential(1.0, (gates, samples)),
    }[errors]()
    drawn = found @ (weights / weights.sum(axis=0))
    pairs = zip(found.mean(axis=1).tolist(), drawn, strict=True)
    spreads = [Spread.of(mean, samples, one) for mean, one in pairs]
    above = np.mean([each.low(ALPHA / 2) > 0 for each in spreads])
    below = np.mean([each.high(ALPHA / 2) < 0 for each in spreads])
    stated = ALPHA / 2 if errors == "normal" else ALPHA
    assert max(above, below) <= stated + 3 * math.sqrt(stated / gates)
    assert 1 - above - below == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    ("loss", "gain", "margin", "alike"), [(0.03, 0.01, 0.005, False), (0.01, 0.01, 0.01, True)]
)
def test_so_many_samples_decide_as_often_as_promised(
    loss: float, gain: float, margin: float, alike: bool
) -> None:
    test = statistics.is_equivalent if alike else statistics.is_worse
    decides = test(margin, ALPHA)
    samples = statistics.samples_needed(loss, gain, decides)
    assert samples is not None
    assert decides(*outcomes(samples, loss, gain), samples).mean() == pytest.approx(POWER, abs=0.03)
    assert statistics.power(samples // 2, loss, gain, decides) < POWER


def test_the_least_drop_is_found_as_often_as_promised() -> None:
    drop = statistics.min_detectable_drop(360, 0.01)
    assert drop is not None
    lost, won = outcomes(360, 0.005 + drop, 0.005)
    found = (statistics.worse_p(lost, won, 360) <= ALPHA).mean()
    assert found == pytest.approx(POWER, abs=0.02)
    assert statistics.min_detectable_drop(4, 0.01) is None


@pytest.mark.parametrize(("lost", "won"), [(1, 0), (6, 0), (9, 4), (31, 12), (400, 310)])
def test_without_an_allowance_it_is_mcnemars_exact_test(lost: int, won: int) -> None:
    assert Paired(lost, won, 1_000).worse() == pytest.approx(mcnemar(lost, won))
    assert Paired(won, lost, 1_000).worse() == 1.0


def test_no_change_at_all_is_equivalent_given_enough_samples() -> None:
    assert Paired(0, 0, 1_000).equivalent(0.01) < ALPHA
    assert Paired(0, 0, 100).equivalent(0.01) > ALPHA
    low, high = Paired(0, 0, 1_000).interval
    assert low < 0 < high < 0.005


def test_a_share_is_tested_exactly() -> None:
    assert statistics.below_share_p(8, 10, 0.9) == pytest.approx(1 - 0.9**10 - 0.9**9)
    assert statistics.below_share_p(10, 10, 1.0) == 1.0
    assert statistics.below_share_p(9, 10, 1.0) == 0.0
    assert statistics.below_share_p(9, 10, 0.0) == 1.0


def test_each_resample_holds_each_sample_and_whole_groups() -> None:
    drawn = bootstrap_weights(500, 200)
    assert drawn.shape == (500, 200)
    assert drawn.min() == 1
    assert drawn.mean() == pytest.approx(2, abs=0.1)
    assert len(np.unique(drawn, axis=0)) == 64
    np.testing.assert_array_equal(drawn, bootstrap_weights(500, 200))


def test_no_interval_is_told_where_none_can_be_right() -> None:
    """Of too few resamples, of changes that two samples carry, and of a figure that jumps."""
    weights = bootstrap_weights(60, 200).astype(float)

    def spread(change: np.ndarray, power: float = 1.0) -> Spread:
        drawn = np.sign(shares := change @ weights / weights.sum(axis=0)) * np.abs(shares) ** power
        mean = change.mean()
        return Spread.of(float(np.sign(mean) * abs(mean) ** power), 60, drawn)

    few, many = np.zeros(60), np.linspace(-1, 2, 60)
    few[:2] = 1.0
    found = {
        "resamples": Spread.of(0.0, 60, np.full(9, np.nan)),
        "about 2 samples": spread(few),
        "no sum": spread(many - many.mean(), 0.1),
    }
    for word, each in found.items():
        assert each.interval is None
        assert word in each.doubt
        assert each.low(0.025) < min(0.0, each.change) <= each.high(0.025)
    ends = spread(many).interval
    assert ends is not None
    half = 2.0 * many.std(ddof=1) / math.sqrt(60)
    assert (ends[1] - ends[0]) / 2 == pytest.approx(half, rel=0.02)
    same = spread(np.zeros(60))
    assert (same.low(0.025), same.high(0.025), same.interval) == (0.0, 0.0, None)


def test_what_few_samples_cannot_show_is_a_share_of_them() -> None:
    assert statistics.unseen_share(59) < 0.05 < statistics.unseen_share(58)  # the rule of three
    assert statistics.samples_to_see(0.05) == 59
    assert statistics.samples_to_see(1.0) == 1


def test_a_figure_needs_more_samples_the_nearer_it_is_to_its_limit() -> None:
    far = statistics.figure_samples_needed(0.2, 0.1, 100)
    near = statistics.figure_samples_needed(0.02, 0.1, 100)
    assert far is not None
    assert near is not None
    assert far < 100 < near
    assert statistics.figure_samples_needed(-0.1, 0.1, 100) is None
