"""The interval of a ratio, on series whose ratio is known: noise, spikes, drift, resemblance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeq.errors import Inconclusive, UsageError
from edgeq.timing.ratios import Ratio, paired_ratio

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Series = Callable[[np.random.Generator, int], NDArray[np.float64]]

TRIALS = 60


def quiet(random: np.random.Generator, rounds: int) -> NDArray[np.float64]:
    """Independent noise of 3 %."""
    return random.normal(0, 0.03, rounds)


def spiky(random: np.random.Generator, rounds: int) -> NDArray[np.float64]:
    """A fifth of the blocks preempted, for up to several times their length."""
    return quiet(random, rounds) + (random.random(rounds) < 0.2) * random.exponential(1, rounds)


def wandering(random: np.random.Generator, rounds: int) -> NDArray[np.float64]:
    """Noise of which a part stays from one round to the next."""
    fresh = random.normal(0, 0.03, rounds)
    found = np.empty(rounds)
    found[0] = fresh[0]
    for i in range(1, rounds):
        found[i] = 0.5 * found[i - 1] + math.sqrt(0.75) * fresh[i]
    return found


def pair(
    own: Series, random: np.random.Generator, rounds: int, times: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times of two sessions on a machine that slows down by half and hiccups for both."""
    pace = np.linspace(0, 0.4, rounds) + 0.2 * np.sin(np.arange(rounds) / 7)
    first, second = (np.exp(pace + own(random, rounds)) for _ in range(2))
    return times * first, second


@pytest.mark.parametrize("own", [quiet, spiky, wandering])
def test_the_interval_holds_the_truth_as_often_as_it_says(own: Series) -> None:
    """Of 60 such series 57; fewer than 53 would be chance once in 100 if it held.

    ``benchmarks.ratio_intervals`` counts more of them.
    """
    random = np.random.default_rng(5)
    held = 0
    for _ in range(TRIALS):
        found = paired_ratio(*pair(own, random, 40, 1.1))
        held += found.low <= 1.1 <= found.high
    assert held >= 53


@pytest.mark.parametrize("own", [quiet, spiky, wandering])
def test_a_slowdown_of_a_tenth_is_found(own: Series) -> None:
    random = np.random.default_rng(6)
    found = [paired_ratio(*pair(own, random, 100, 1.1)) for _ in range(10)]
    assert sum(each.low > 1 for each in found) >= 9
    assert all(each.differs for each in found if each.low > 1)


def test_a_ratio_of_constants_has_no_width() -> None:
    found = paired_ratio([3.0] * 30, [2.0] * 30)
    assert (found.value, found.low, found.high) == pytest.approx((1.5,) * 3)
    assert (found.pairs, found.confidence) == (30, 0.95)


def test_rounds_are_paired_so_that_a_common_slowdown_cancels() -> None:
    pace = np.array([1.0, 1.1, 0.9, 2.0, 1.5, 1.05, 0.95, 1.2, 3.0, 1.0, 1.3] * 3)
    found = paired_ratio(2 * pace, pace)
    assert (found.value, found.low, found.high) == pytest.approx((2.0,) * 3)


def test_the_interval_narrows_with_rounds_and_widens_with_confidence() -> None:
    random = np.random.default_rng(7)

    def width(rounds: int, confidence: float = 0.95) -> float:
        found = paired_ratio(*pair(quiet, random, rounds, 1.0), confidence=confidence)
        assert found.low <= found.value <= found.high
        return found.high - found.low

    assert 0 < width(3000) < width(300) < width(30) < width(30, 0.999)


def test_the_same_numbers_give_the_same_interval_and_turned_round_its_inverse() -> None:
    a, b = pair(spiky, np.random.default_rng(8), 60, 1.3)
    found, turned = paired_ratio(a, b), paired_ratio(b, a)
    assert found == paired_ratio(a, b)
    assert turned.value == pytest.approx(1 / found.value)
    assert (turned.low, turned.high) == pytest.approx((1 / found.high, 1 / found.low), rel=1e-9)


def test_ties_of_a_coarse_clock_are_no_resemblance() -> None:
    assert paired_ratio([2.0, 2.0, 2.0, 3.0, 2.0, 2.0] * 5, [2.0] * 30).value == pytest.approx(1)


def test_what_has_no_ratio_is_refused() -> None:
    with pytest.raises(Inconclusive, match="29 rounds"):
        paired_ratio([1.0] * 29, [1.0] * 29)
    with pytest.raises(Inconclusive, match="zero"):
        paired_ratio([0.0] * 30, [1.0] * 30)
    with pytest.raises(UsageError, match="not measured together"):
        paired_ratio([1.0] * 9, [1.0] * 8)
    with pytest.raises(UsageError, match="no confidence"):
        paired_ratio([1.0] * 9, [1.0] * 9, confidence=95)


def test_a_ratio_differs_from_one_where_its_interval_leaves_it_out() -> None:
    assert Ratio(1.2, 1.1, 1.3, 9).differs
    assert Ratio(0.8, 0.7, 0.9, 9).differs
    assert not Ratio(1.1, 0.99, 1.3, 9).differs
