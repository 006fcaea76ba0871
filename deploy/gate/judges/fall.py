"""How much worse a figure is than another one of the same samples, and whether that is shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.deploy.gate import statistics
from edgeq.deploy.gate.judges.context import within
from edgeq.deploy.gate.statistics import Paired
from edgeq.tabular import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.deploy.gate.baseline import Entry
    from edgeq.deploy.gate.config import Levels
    from edgeq.deploy.gate.judges.context import Context
    from edgeq.results import Score, Stage


@dataclass(frozen=True, slots=True)
class Fall:
    """How much worse a figure is now.

    Attributes:
        amount: in points; of a figure that is no share, in per cent of itself.
        interval: its 95 % interval; None where nothing tells.
        paired: the samples lost and gained; None of a score.
        samples: how many it is about.
    """

    amount: float
    interval: tuple[float, float] | None
    paired: Paired | None
    samples: int

    def worse_than(self, allowed: float, levels: Levels) -> bool | None:
        """Whether it is shown to be more than allowed; None where too few samples tell."""
        if within(self.amount, allowed):
            return False
        if self.paired is not None:
            return True if self.paired.worse(allowed / 100) <= levels.alpha else None
        if self.interval is None:
            return True
        return True if self._low(levels.alpha / 2) > allowed else None

    def equivalent_within(self, margin: float, levels: Levels) -> bool | None:
        """Whether it is shown to be so near, or to be farther; None where too few samples tell."""
        if self.paired is not None:
            if self.paired.equivalent(margin / 100) <= levels.alpha:
                return True
        elif self.interval is None:
            return within(abs(self.amount), margin)
        elif abs(self.amount) + self._half(levels.alpha) <= margin:
            return True
        mirrored = Fall(
            -self.amount,
            None if self.interval is None else (-self.interval[1], -self.interval[0]),
            None
            if self.paired is None
            else Paired(self.paired.gains, self.paired.losses, self.paired.total),
            self.samples,
        )
        far = self.worse_than(margin, levels) or mirrored.worse_than(margin, levels)
        return False if far else None

    def needed(self, margin: float, levels: Levels, *, alike: bool = False) -> int | None:
        """How many samples would tell; None for too many."""
        if self.paired is None:
            excess = margin - abs(self.amount) if alike else self.amount - margin
            return statistics.figure_samples_needed(
                excess,
                0.0 if self.interval is None else (self.interval[1] - self.interval[0]) / 2,
                self.samples,
                alpha=levels.alpha,
                wanted=levels.power,
            )
        test = statistics.is_equivalent if alike else statistics.is_worse
        losses, gains = (count / self.samples for count in (self.paired.losses, self.paired.gains))
        beyond = abs(losses - gains) >= margin / 100 if alike else losses - gains <= margin / 100
        if beyond:
            return None
        return statistics.samples_needed(
            losses, gains, test(margin / 100, levels.alpha), wanted=levels.power
        )

    def _half(self, tail: float) -> float:
        """Half the interval that leaves so much on each side."""
        low, high = self.interval or (self.amount, self.amount)
        z = statistics.NORMAL.inv_cdf
        return (high - low) / 2 * z(1 - tail) / z(0.975)

    def _low(self, tail: float) -> float:
        return self.amount - self._half(tail)


def fall_of(context: Context, stage: Stage, then: Entry) -> Fall | None:
    """How much worse a stage is than in the baseline; None where the two have no common figure."""
    observed, samples = context.measured.observed, context.measured.observed.comparison.samples
    if stage.score is None:
        if then.correct is None:
            return None
        return paired_fall(then.correct, observed.correct(stage))
    if then.score is None:
        return None
    drawn = observed.resampled.get(stage.name, np.empty(0))
    before = then.resampled
    return of_scores(stage.score, then.score, stage.score.value, before, drawn, samples)


def of_scores(
    score: Score,
    before: float,
    now: float,
    drawn_before: NDArray[np.float64],
    drawn: NDArray[np.float64],
    samples: int,
) -> Fall:
    """The fall from one score to another, given both on the same resamples.

    Args:
        score: the later one.
        before: the value of the earlier one.
        now: that of the later one.
        drawn_before: the earlier one on each resample, (resamples,); empty for none.
        drawn: the later one likewise.
        samples: how many both are about.
    """
    amount = drop_between(before, now, score)
    unit = drop_between(before, before - 1.0, score) if before or score.percent else math.nan
    if not len(drawn) or len(drawn) != len(drawn_before) or not math.isfinite(unit):
        return Fall(amount, None, None, samples)
    low, high = statistics.bootstrap_interval(before - now, drawn, drawn_before)
    ends = sorted((low * unit, high * unit))
    return Fall(amount, (ends[0], ends[1]), None, samples)


def paired_fall(before: NDArray[np.bool_], now: NDArray[np.bool_]) -> Fall:
    """The fall between two sets of right answers, (samples,) each."""
    paired = Paired(int((before & ~now).sum()), int((~before & now).sum()), len(now))
    low, high = paired.interval
    return Fall(100 * paired.drop, (100 * low, 100 * high), paired, len(now))


def drop_between(then: float, now: float, score: Score | None) -> float:
    """How much worse a figure is now: percentage points, or per cent of an error."""
    if score is None or score.percent:
        better = 1 if score is None or score.higher_is_better else -1
        return 100 * better * (then - now)
    if then == now:
        return 0.0
    change = 100 * (now - then) / abs(then) if then else math.copysign(math.inf, now - then)
    return -change if score.higher_is_better else change


def figures(
    fall: Fall, then: float, now: float, allowed: float, score: Score | None
) -> dict[str, Any]:
    """What a finding has of a fall, all in the unit of the figure itself.

    Args:
        fall: how much worse it is.
        then: the figure in the baseline.
        now: the figure now.
        allowed: how much worse it may be; the limit is the figure of then less that.
        score: what was measured; None for accuracy.
    """
    percent = is_share(score)
    sign = 1 if score is None or score.higher_is_better else -1
    step = sign * (1.0 if percent else abs(then) / 100)
    scale = 100.0 if percent else 1.0
    ends = None if fall.interval is None else sorted(scale * then - step * e for e in fall.interval)
    return {
        "measured": scale * now,
        "baseline": scale * then,
        "interval": None if ends is None else (ends[0], ends[1]),
        "limit": scale * then - step * allowed,
        "unit": "%" if percent else (score.unit if score is not None else ""),
    }


def value_of(context: Context, stage: Stage) -> float:
    """The score of a stage, or its accuracy as a fraction."""
    if stage.score is not None:
        return stage.score.value
    return float(context.measured.observed.correct(stage).mean())


def unit_of(score: Score | None) -> str:
    """Of the amount of a fall."""
    return "points" if is_share(score) else "%"


def is_share(score: Score | None) -> bool:
    """Whether a figure is a fraction that people read in per cent; an accuracy is one."""
    return score is None or score.percent


def in_its_unit(score: Score | None, value: float) -> str:
    """A figure for a sentence."""
    if is_share(score):
        return f"{100 * value:.2f} %"
    return f"{value:.4g} {score.unit if score is not None else ''}".rstrip()


def scaled(score: Score | None, **figures: float | None) -> dict[str, Any]:
    """Fields of a finding in the unit of the figure, with that unit."""
    factor = 100.0 if is_share(score) else 1.0
    unit = "%" if is_share(score) else score.unit if score is not None else ""
    told = {name: None if value is None else factor * value for name, value in figures.items()}
    return {**told, "unit": unit}


def too_few(needed: int | None, samples: int) -> str:
    """How many samples it would take, for the end of a sentence."""
    if needed is None:
        return "; too few samples tell"
    return f"; {counted(samples, 'sample')} are too few to tell, about {needed:,} would"
