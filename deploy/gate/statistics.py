"""What a change on some samples says about all: worse, equivalent, changed, and how sure.

Two runs answer the same samples, so each sample is its own control, and only those count that one
of them has right and the other wrong. A *loss* was right in the baseline and is wrong now, a *gain*
the other way round; the drop is the share of losses less that of gains.

- Worse than allowed: without an allowance, McNemar's exact test. With one, the score test of
  Tango, Equivalence test and confidence interval for the difference in proportions for the
  paired-sample design, 1998, less one sample for continuity, so that it errs on the safe side.
- Equivalent within a margin: two one-sided tests (TOST), each the same score test.
- Changed beyond a share: the exact binomial test.
- Any other figure: paired resamples. They weigh sample i of resample r equally in every run, so
  that those of a run and of its baseline can be subtracted one by one. Worse is a change whose
  interval at ``alpha`` is above what is allowed, equivalent one whose interval is within the
  margin. That is TOST at ``alpha`` / 2: half the level is kept for errors that are not normal.

All p-values are two-sided, except TOST's and the binomial's: a fall of nothing but luck is called
worse in at most ``alpha`` / 2 of all gates, and a rise better in as many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from edgeq.metrics.resampling import MEAN, group_weights, groups_of
from edgeq.numerics.student import student_quantile
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Counts = NDArray[np.int64]
    Reals = NDArray[np.float64]

ALPHA, POWER = 0.05, 0.8
RESAMPLES = 200
MOST_SAMPLES = 10_000_000
"""Beyond so many, a number of samples that it takes is not told."""
NORMAL = NormalDist()
"""The standard normal distribution."""
FEWEST_CHANGED = 4
"""Groups of samples that have to carry a change, for its interval to be told."""
_MOST_OVER = 0.04  # of the variance of resamples, that least squares may leave over
_TAKEN_OFF = 3.0  # times what they leave over; a figure of pairs counts it four times too often
_ROUNDING = 1e-12
_EXACT_UP_TO = 20_000  # samples for which power is summed over all outcomes
_REACH = 6.0  # standard deviations of outcomes that are summed over
_HALVINGS = 40


@dataclass(frozen=True, slots=True)
class Paired:
    """How two runs answer the same samples.

    Attributes:
        losses: samples that were right and are wrong now.
        gains: samples that were wrong and are right now.
        total: all of them.
    """

    losses: int
    gains: int
    total: int

    @property
    def drop(self) -> float:
        """The share of samples lost, less the share gained."""
        return (self.losses - self.gains) / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the drop."""
        low, high = drop_interval(_one(self.losses), _one(self.gains), self.total)
        return float(low[0]), float(high[0])

    def worse(self, margin: float = 0.0) -> float:
        """The p-value of its being no worse than a margin, a share; small where it is worse."""
        return float(worse_p(_one(self.losses), _one(self.gains), self.total, margin)[0])

    def equivalent(self, margin: float) -> float:
        """The p-value of its being off by a margin or more; small where it is equivalent."""
        return float(equivalent_p(_one(self.losses), _one(self.gains), self.total, margin)[0])


def worse_p(losses: Counts, gains: Counts, total: int, margin: float = 0.0) -> Reals:
    """Two-sided p-values of drops of at most a margin, (gates,).

    Args:
        losses: of each gate, (gates,).
        gains: likewise.
        total: samples of each.
        margin: the drop that is allowed, a share of the samples.
    """
    if margin == 0:
        return _mcnemar(losses, gains)
    return np.minimum(1.0, 2 * _upper_tail(_score(losses, gains, total, margin, -1.0)))


def equivalent_p(losses: Counts, gains: Counts, total: int, margin: float) -> Reals:
    """P-values of drops or rises of a margin or more, (gates,): the larger of two one-sided ones.

    Args:
        losses: of each gate, (gates,).
        gains: likewise.
        total: samples of each.
        margin: within which it is equivalent, a share above 0.
    """
    falls = _score(losses, gains, total, margin, 1.0)
    rises = _score(gains, losses, total, margin, 1.0)
    return np.maximum(_upper_tail(-falls), _upper_tail(-rises))


def drop_interval(
    losses: Counts, gains: Counts, total: int, confidence: float = 0.95
) -> tuple[Reals, Reals]:
    """The ends of the score interval of each drop, (gates,): the margins that are not rejected."""
    critical = NORMAL.inv_cdf(0.5 + confidence / 2)
    drops = (losses - gains) / total

    def end(one: Counts, other: Counts, start: Reals) -> Reals:
        inside, outside = start, np.ones_like(start)
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            rejected = -_score(one, other, total, middle, 0.0) > critical
            inside = np.where(rejected, inside, middle)
            outside = np.where(rejected, middle, outside)
        return inside

    return -end(gains, losses, -drops), end(losses, gains, drops)


def _score(
    losses: Counts, gains: Counts, total: int, margin: float | Reals, correction: float
) -> Reals:
    """How many standard errors a drop is above a margin, (gates,)."""
    slope = -losses - gains + (2 * total - losses + gains) * margin
    constant = -gains * margin * (1 - margin)
    root = np.sqrt(np.maximum(slope * slope - 8 * total * constant, 0.0))
    gained = np.maximum((root - slope) / (4 * total), 0.0)  # the likeliest share at that margin
    variance = total * np.maximum(2 * gained + margin * (1 - margin), 0.0)
    distance = losses - gains - total * margin + correction
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Reals = distance / np.sqrt(variance)
    certain = np.where(distance == 0, 0.0, np.copysign(np.inf, distance))
    return np.where(variance > 0, found, certain)


def _mcnemar(losses: Counts, gains: Counts) -> Reals:
    """McNemar's exact p-values, where more are lost than gained; 1 elsewhere.

    As :func:`edgeq.metrics.accuracy.mcnemar`, of many gates at once.
    """
    found = np.ones(len(losses))
    changed = losses + gains
    for count in np.unique(changed[losses > gains]):
        logs = _log_factorials(int(count))
        terms = logs[-1] - logs - logs[::-1] - count * math.log(2)
        tails = np.cumsum(np.exp(terms))  # of at most so many gains
        here = (changed == count) & (losses > gains)
        found[here] = 2 * tails[gains[here]]
    return np.minimum(1.0, found)


def _upper_tail(z: Reals) -> Reals:
    with np.errstate(invalid="ignore"):
        return np.where(np.isnan(z), 1.0, _erfc(z / math.sqrt(2)) / 2)


def _erfc(x: Reals) -> Reals:
    values, places = np.unique(x, return_inverse=True)
    return np.array([math.erfc(each) for each in values])[places.reshape(-1)]


def _one(count: int) -> Counts:
    return np.array([count], np.int64)


def below_share_p(count: int, total: int, share: float) -> float:
    """The exact p-value of so few successes, or fewer, where at least a share succeeds."""
    if share <= 0:
        return 1.0
    if share >= 1:
        return 1.0 if count == total else 0.0
    logs = _log_factorials(total)
    k = np.arange(count + 1)
    terms = (
        logs[total]
        - logs[k]
        - logs[total - k]
        + k * math.log(share)
        + (total - k) * math.log1p(-share)
    )
    return min(1.0, float(np.exp(terms).sum()))


def _log_factorials(most: int) -> Reals:
    """The logarithms of 0! to ``most``!, (most + 1,)."""
    return _many_log_factorials(1 << most.bit_length())[: most + 1]


@lru_cache(maxsize=8)
def _many_log_factorials(most: int) -> Reals:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, most + 1)))])


def power(
    total: int,
    loss: float,
    gain: float,
    decides: Callable[[Counts, Counts, int], NDArray[np.bool_]],
) -> float:
    """How often a test decides on so many samples.

    Args:
        total: samples.
        loss: the share of samples lost in truth.
        gain: the share gained in truth.
        decides: of losses, gains and samples, whether it does.
    """
    if total > _EXACT_UP_TO:
        return _power_of_many(total, loss, gain, decides)
    logs = _log_factorials(total)
    losses, gains = (_likely(total, share) for share in (loss, gain))
    grid = np.meshgrid(losses, gains, indexing="ij")
    lost, won = (each.reshape(-1) for each in grid)
    keep = lost + won <= total
    lost, won = lost[keep], won[keep]
    rest = total - lost - won
    chance = logs[total] - logs[lost] - logs[won] - logs[rest]
    for count, share in ((lost, loss), (won, gain), (rest, 1 - loss - gain)):
        with np.errstate(divide="ignore"):
            chance = chance + np.where(count > 0, count * np.log(np.maximum(share, 1e-300)), 0.0)
    return float(np.exp(chance)[decides(lost, won, total)].sum())


def _power_of_many(
    total: int,
    loss: float,
    gain: float,
    decides: Callable[[Counts, Counts, int], NDArray[np.bool_]],
) -> float:
    """Of so many samples that the numbers of losses and gains are normal: over a few quantiles."""
    steps = [NORMAL.inv_cdf((i + 0.5) / 64) for i in range(64)]
    spread = np.array(steps)
    sides = [
        np.round(total * share + spread * math.sqrt(total * share * (1 - share))).astype(np.int64)
        for share in (loss, gain)
    ]
    lost, won = (np.maximum(each, 0).reshape(-1) for each in np.meshgrid(*sides, indexing="ij"))
    return float(decides(lost, won, total).mean())


def _likely(total: int, share: float) -> Counts:
    middle, reach = total * share, _REACH * math.sqrt(total * share * (1 - share)) + _REACH
    return np.arange(max(0, math.floor(middle - reach)), min(total, math.ceil(middle + reach)) + 1)


def is_worse(margin: float, alpha: float) -> Callable[[Counts, Counts, int], NDArray[np.bool_]]:
    """Whether a drop is shown to be above a margin, for :func:`power`."""
    return lambda losses, gains, total: worse_p(losses, gains, total, margin) <= alpha


def is_equivalent(
    margin: float, alpha: float
) -> Callable[[Counts, Counts, int], NDArray[np.bool_]]:
    """Whether two runs are shown to be equivalent within a margin, for :func:`power`."""
    return lambda losses, gains, total: equivalent_p(losses, gains, total, margin) <= alpha


def samples_needed(
    loss: float,
    gain: float,
    decides: Callable[[Counts, Counts, int], NDArray[np.bool_]],
    *,
    wanted: float = POWER,
) -> int | None:
    """How many samples it takes until a test decides so often; None for more than it can tell.

    Args:
        loss: the share of samples lost in truth.
        gain: the share gained in truth.
        decides: as of :func:`power`.
        wanted: how often it has to.
    """
    high = 8
    while power(high, loss, gain, decides) < wanted:
        high *= 2
        if high > MOST_SAMPLES:
            return None
    low = high // 2
    while high - low > max(1, low // 64):
        middle = (low + high) // 2
        if power(middle, loss, gain, decides) < wanted:
            low = middle
        else:
            high = middle
    return high


def min_detectable_drop(
    total: int,
    changing: float,
    *,
    margin: float = 0.0,
    alpha: float = ALPHA,
    wanted: float = POWER,
) -> float | None:
    """The smallest true drop that a gate finds so often on so many samples; None for none at all.

    Args:
        total: samples.
        changing: the share of samples that change both ways beside the drop.
        margin: the drop that is allowed, a share.
        alpha: the level of the test.
        wanted: how often it has to be found.
    """
    decides, gain = is_worse(margin, alpha), changing / 2
    low, high = margin, 1.0 - changing
    if high <= low or power(total, gain + high, gain, decides) < wanted:
        return None
    for _ in range(_HALVINGS // 2):
        middle = (low + high) / 2
        if power(total, gain + middle, gain, decides) < wanted:
            low = middle
        else:
            high = middle
    return high


@dataclass(frozen=True, slots=True)
class Spread:
    """How sure a change is, by the change of each resample.

    What each group of samples does to it follows from the resamples by least squares, and its error
    from how far the groups differ, as in a jackknife. The ends of its intervals are a Student
    quantile of errors away. Where few groups change much, the others do not show how far the truth
    may be on that side: the end there is moved outwards by the first term of Hall, Inverting an
    Edgeworth expansion, 1983. The other end stays, so that the correction never makes a gate surer.

    What is left over by least squares tells how far the figure is from a sum over samples. Of a
    little, three quarters of what it adds to the error are taken off. Of much, and where fewer than
    ``FEWEST_CHANGED`` groups carry the change, no interval is right: the ends are moved outwards
    then, so that a gate is never too sure, and ``doubt`` says why they are no interval.

    Attributes:
        change: on all samples.
        error: its standard error; infinite where too few resamples have a figure.
        skew: the skewness of the changes of the groups.
        freedom: degrees of freedom of the error.
        doubt: why no 95 % interval is told; empty where one is.
    """

    change: float
    error: float
    skew: float
    freedom: float
    doubt: str = ""

    @classmethod
    def of(
        cls, change: float, samples: int, replicates: Reals, *, members: int | None = None
    ) -> Spread:
        """That of a change.

        Args:
            change: on all samples.
            samples: how many those are.
            members: how many of them the figure is about; None for all.
            replicates: on each resample, (resamples,); the resamples as of
                :func:`edgeq.metrics.resampling.bootstrap_weights`. NaN where one has no figure.
        """
        known = np.isfinite(replicates)
        groups = groups_of(samples, len(replicates))
        free = int(known.sum()) - 1 - groups
        about = groups if members is None else min(groups, members)
        if about < FEWEST_CHANGED or free < groups:
            fewest = min(members or samples, int(known.sum()))
            return cls(change, math.inf, 0.0, 1, f"{fewest} samples or resamples are too few")
        per_group, over = _by_group(replicates, groups, known)
        away = per_group - per_group.mean()
        total = float(away @ away)
        if total <= (_ROUNDING * max(abs(change), float(np.abs(per_group).max()))) ** 2:
            doubt = "no sample shows a change" if change == 0 else ""
            return cls(change, 0.0, 0.0, about - 1, doubt)
        plain, rest = total * about / (about - 1), MEAN**2 * float(over @ over) / free
        carried = total * total / float((away**4).sum())
        skew = float((away**3).sum()) / total**1.5
        if carried < FEWEST_CHANGED:
            reach = math.sqrt(_most_behind(carried) / carried)
            doubt = f"{_few(carried)} carry the whole change"
            return cls(change, reach * math.sqrt(plain + rest), skew, about - 1, doubt)
        if rest > _MOST_OVER * (plain + rest):
            few = counted(members or samples, "sample")
            doubt = f"{few} are too few for this figure, which is no sum"
            return cls(change, math.sqrt(plain + MEAN**2 * rest), skew, about - 1, doubt)
        return cls(change, math.sqrt(plain - _TAKEN_OFF * rest), skew, about - 1)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval; None where there is a doubt about it."""
        return None if self.doubt else (self.low(0.025), self.high(0.025))

    def low(self, tail: float) -> float:
        """What the truth is below in so large a share of all gates, or in fewer."""
        return self.change - self._reach(tail, -self.skew)

    def high(self, tail: float) -> float:
        """What the truth is above in so large a share, or in fewer."""
        return self.change + self._reach(tail, self.skew)

    def mirrored(self) -> Spread:
        """That of the opposite change."""
        return Spread(-self.change, self.error, -self.skew, self.freedom, self.doubt)

    def _reach(self, tail: float, skew: float) -> float:
        if self.error == 0:
            return 0.0
        t = student_quantile(1 - tail, self.freedom)
        return self.error * (t + max(0.0, skew) * (2 * t * t + 1) / 6)


def _by_group(replicates: Reals, groups: int, known: NDArray[np.bool_]) -> tuple[Reals, Reals]:
    """What each group adds to a figure, (groups,), and what that leaves over, (resamples,)."""
    weights, solve = _least_squares(groups, len(replicates))
    if not known.all():
        weights, replicates = weights[known], replicates[known]
        weights = weights - weights.mean(axis=0)
        solve = np.linalg.pinv(weights)
    found = replicates - replicates.mean()
    slopes = solve @ found
    return MEAN * slopes, found - weights @ slopes


@lru_cache(maxsize=32)
def _least_squares(groups: int, resamples: int) -> tuple[Reals, Reals]:
    """How much more often than on average each resample holds each group, and its inverse."""
    weights = group_weights(groups, resamples).T.astype(np.float64)
    weights -= weights.mean(axis=0)
    return weights, np.linalg.pinv(weights).astype(np.float64)


def _most_behind(count: float, tail: float = 0.025) -> float:
    """How many there may be in truth where so few are seen: Poisson's exact upper end, nearly."""
    z = NORMAL.inv_cdf(1 - tail)
    more = count + 1
    return more * (1 - 1 / (9 * more) + z / (3 * math.sqrt(more))) ** 3


def _few(carried: float) -> str:
    number = max(1, round(carried))
    return "1 sample or few" if number == 1 else f"about {number} samples"


def unseen_share(samples: int, alpha: float = ALPHA) -> float:
    """The largest share of all samples of which so many may show none, by chance ``alpha``."""
    return float(1 - alpha ** (1 / samples))


def samples_to_see(share: float, alpha: float = ALPHA) -> int:
    """How many samples show one of such a share, but for a chance of ``alpha``."""
    return math.ceil(math.log(alpha) / math.log1p(-share)) if share < 1 else 1


def figure_samples_needed(
    excess: float, half_width: float, total: int, *, alpha: float = ALPHA, wanted: float = POWER
) -> int | None:
    """How many samples make an interval so narrow that an excess over a limit is shown.

    Args:
        excess: how far the figure is beyond the limit.
        half_width: half the 95 % interval on ``total`` samples.
        total: samples so far.
        alpha: the level.
        wanted: how often it has to be shown.
    """
    if excess <= 0 or not math.isfinite(half_width):
        return None
    error = half_width / NORMAL.inv_cdf(0.975)
    factor = (NORMAL.inv_cdf(1 - alpha / 2) + NORMAL.inv_cdf(wanted)) * error / excess
    needed = math.ceil(total * factor * factor)
    return needed if needed <= MOST_SAMPLES else None
