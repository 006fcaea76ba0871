"""How many times as long one thing takes as another, with an interval that tells chance apart.

Two sessions that take turns give pairs: what the machine did in a round, it did to both. The ratio
of each pair is free of the machine's changes of pace, and their trimmed mean of the preemptions
that meet one of the two. The interval is a block bootstrap: neighbouring rounds resemble each
other, so that runs of rounds are drawn, as long as the resemblance asks for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import Inconclusive, UsageError
from edgeq.numerics.student import student_quantile
from edgeq.timing.trust import MIN_PAIRS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_MOST_PAIRS = 1000  # more are averaged with their neighbours first
_TRIMMED = 0.25  # of the pairs at either end
_RESAMPLES = 2000
_LEAST_FREEDOM = 3.0  # below it Student's quantiles say nothing
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Ratio:
    """One time over another.

    Attributes:
        value: the trimmed mean of the ratios of pairs, on a logarithmic scale; above 1, the first
            one is slower.
        low: lower end of the interval.
        high: upper end of the interval.
        pairs: how many pairs it rests on.
        confidence: how often such an interval holds the truth.
    """

    value: float
    low: float
    high: float
    pairs: int
    confidence: float = 0.95

    @property
    def differs(self) -> bool:
        """Whether the interval leaves 1 out: that the two differ is not chance."""
        return not self.low <= 1 <= self.high


def paired_ratio(
    first: Sequence[float] | NDArray[np.float64],
    second: Sequence[float] | NDArray[np.float64],
    *,
    confidence: float = 0.95,
) -> Ratio:
    """How many times as long the first takes as the second; the same answer for the same numbers.

    Args:
        first: times of one thing, any unit; item i was taken in the same round as item i of
            ``second``.
        second: times of the other.
        confidence: how often the interval is to hold the truth, a fraction.

    Raises:
        Inconclusive: fewer than five pairs, or times too short for the clock.
        UsageError: the two differ in length, or the confidence is no fraction.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise UsageError(
            "the two times were not measured together", hint="pass both sessions to one measure()"
        )
    if not 0 < confidence < 1:
        raise UsageError(f"{confidence:g} is no confidence", hint="give a fraction such as 0.95")
    if len(a) < MIN_PAIRS:
        raise Inconclusive(
            f"{len(a)} rounds are too few for a ratio, {MIN_PAIRS} are needed",
            hint="measure for longer",
        )
    if not (np.isfinite(a) & np.isfinite(b) & (a > 0) & (b > 0)).all():
        raise Inconclusive(
            "some times are zero, so that they have no ratio",
            hint="time more than one run at once; the clock is too coarse for one",
        )
    logarithms = _few(np.log(a) - np.log(b))
    middle = float(_middle(logarithms))
    low, high = _interval(logarithms, middle, confidence)
    return Ratio(
        math.exp(middle),
        math.exp(min(low, middle)),
        math.exp(max(high, middle)),
        len(a),
        confidence,
    )


def _few(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most a thousand, each the mean of as many neighbours."""
    size = math.ceil(len(values) / _MOST_PAIRS)
    kept = len(values) // size * size
    return np.asarray(values[:kept].reshape(-1, size).mean(axis=1), np.float64)


def _middle(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the middle half of the last axis."""
    count = values.shape[-1]
    cut = int(count * _TRIMMED)
    ordered = np.partition(values, (cut, count - cut - 1), axis=-1)
    mean: NDArray[np.float64] = ordered[..., cut : count - cut].mean(axis=-1)
    return mean


def _interval(values: NDArray[np.float64], middle: float, confidence: float) -> tuple[float, float]:
    """The ends of a block bootstrap, wide enough for few and for dependent values.

    Percentiles of a bootstrap are too narrow for few values, by Student's against the normal
    distribution; and blocks cut the resemblance off at their ends, by a factor that is known where
    it fades as in an autoregression.
    """
    count = len(values)
    length, likeness = _blocks(values)
    random = np.random.default_rng(0)
    starts = random.integers(0, count, (_RESAMPLES, math.ceil(count / length), 1))
    drawn = ((starts + np.arange(length)) % count).reshape(_RESAMPLES, -1)[:, :count]
    freedom = max(count / length - 1, _LEAST_FREEDOM)
    beyond = student_quantile((1 + confidence) / 2, freedom) * math.sqrt((freedom + 1) / freedom)
    tail = _NORMAL.cdf(-beyond)
    low, high = np.quantile(_middle(values[drawn]), [tail, 1 - tail])
    cut_off = 2 * likeness * (1 - likeness**length) / (length * (1 - likeness**2))
    wider = 1 / math.sqrt(1 - min(cut_off, 0.7))
    return middle + (float(low) - middle) * wider, middle + (float(high) - middle) * wider


def _blocks(values: NDArray[np.float64]) -> tuple[int, float]:
    """How many neighbours are drawn together, and how much they resemble each other, in [0, 0.95].

    The resemblance is the correlation of the ranks of neighbours, so that spikes do not hide it;
    the length grows with it as the theory of the block bootstrap has it for an autoregression.
    """
    count = len(values)
    _, place, ties = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - ties / 2)[place]
    ranks -= ranks.mean()
    spread = float((ranks * ranks).sum())
    if spread == 0:
        return 1, 0.0
    found = float((ranks[1:] * ranks[:-1]).sum()) / spread + 1 / count
    if found <= 1 / math.sqrt(count):  # chance
        return 1, 0.0
    likeness = min(found * (1 + 4 / count), 0.95)  # what is estimated from few is too small
    length = math.ceil((2 * likeness / (1 - likeness**2)) ** (2 / 3) * (1.5 * count) ** (1 / 3))
    return min(length, max(count // 5, 1)), likeness
