"""How many times as long one thing takes as another, with an interval that tells chance apart.

Two sessions that take turns give pairs: what the machine did in a round, it did to both. The ratio
of each pair is free of the machine's changes of pace, and their trimmed mean of the preemptions
that meet one of the two. The interval is Student's about the trimmed mean (Tukey and McLaughlin,
1963), widened by how much neighbouring rounds resemble each other: fewer of them are independent
than there are, and how much they resemble is itself known from few.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import Inconclusive, UsageError
from edgeq.numerics.student import student_quantile
from edgeq.timing.trust import MIN_PAIRS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_TRIMMED = 0.25  # of the pairs at either end
_CHANCE = 0.7  # deviations of the resemblance of independent rounds; below, there is none
_MOST_ALIKE = 0.95
_LEAST_FREEDOM = 3.0  # below it Student's quantiles say nothing


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
        Inconclusive: too few pairs for an interval that holds, or times too short for the clock.
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
            hint="measure for longer (--seconds, --runs)",
        )
    if not (np.isfinite(a) & np.isfinite(b) & (a > 0) & (b > 0)).all():
        raise Inconclusive(
            "some times are zero, so that they have no ratio",
            hint="time more than one run at once; the clock is too coarse for one",
        )
    logarithms = np.log(a) - np.log(b)
    middle, beside = _interval(logarithms, confidence)
    return Ratio(
        math.exp(middle),
        math.exp(middle - beside),
        math.exp(middle + beside),
        len(a),
        confidence,
    )


def _interval(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """The mean of the middle half, and how far the ends of its interval are from it."""
    count = len(values)
    cut = int(count * _TRIMMED)
    kept = count - 2 * cut
    ordered = np.sort(values)
    middle = float(ordered[cut : count - cut].mean())
    held = np.clip(values, ordered[cut], ordered[count - cut - 1])
    held -= held.mean()
    spread = float((held * held).sum())
    if spread == 0:
        return middle, 0.0
    alike = _resemblance(held, spread)
    lags = np.arange(1, count)
    # of the variance of one value, what is left in the mean of all, as in an autoregression
    share = (1 + 2 * float(((1 - lags / count) * alike**lags).sum())) / count
    share = min(share, 0.9)
    variance = spread / (kept * (kept - 1)) * (count - 1) * share / (1 - share)
    freedom = kept - 1.0
    if alike:  # the resemblance is estimated too
        freedom = min(freedom, 1.5 * count * (1 - alike**2) / (3 + alike**2))
    beyond = student_quantile((1 + confidence) / 2, max(freedom, _LEAST_FREEDOM))
    return middle, beyond * math.sqrt(variance)


def _resemblance(held: NDArray[np.float64], spread: float) -> float:
    """How much neighbours resemble each other, in [0, 0.95], at the upper end of what is likely.

    What is estimated from few values is too small, and too small a one is what costs coverage.
    """
    count = len(held)
    found = float((held[1:] * held[:-1]).sum()) / spread + 1 / count
    if found <= _CHANCE / math.sqrt(count):
        return 0.0
    found = min(found * (1 + 4 / count), _MOST_ALIKE)
    return min(found + math.sqrt((1 - found**2) / count), _MOST_ALIKE)
