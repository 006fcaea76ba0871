"""How much worse a figure is than another one of the same samples, and whether that is shown."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.brief import brief
from edgeq.deploy.evaluation.outputs.scoring import ACCURACY
from edgeq.deploy.gate import statistics
from edgeq.deploy.gate.judges.context import within
from edgeq.deploy.gate.statistics import Paired, Spread
from edgeq.tabular import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.deploy.gate.baseline import Entry
    from edgeq.deploy.gate.config import Levels
    from edgeq.deploy.gate.judges.context import Context
    from edgeq.results import Score, Stage


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """A figure of one stage of one run.

    Attributes:
        value: a share as a fraction.
        correct: whether each sample is right, (samples,); None of a score.
        drawn: the figure on each resample, (resamples,); empty for none.
    """

    value: float
    correct: NDArray[np.bool_] | None = None
    drawn: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    __repr__ = brief

    def comparable(self, other: Side) -> bool:
        """Whether a change from one to the other can be told with an interval."""
        if self.correct is not None or other.correct is not None:
            return self.correct is not None and other.correct is not None
        return len(self.drawn) == len(other.drawn)


@dataclass(frozen=True, slots=True)
class Fall:
    """How much worse a figure is now.

    Attributes:
        amount: in points; of a figure that is no share, in per cent of itself.
        spread: how sure the amount of a score is; None where nothing tells.
        paired: the samples lost and gained; None of a score.
        samples: how many it is about.
        share: whether it is in points.
    """

    amount: float
    spread: Spread | None
    paired: Paired | None
    samples: int
    share: bool = True

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the amount; None where nothing tells, or not rightly."""
        if self.paired is not None:
            low, high = self.paired.interval
            return 100 * low, 100 * high
        return None if self.spread is None else self.spread.interval

    @property
    def doubt(self) -> str:
        """Why its interval is not told; empty where it is."""
        return "" if self.spread is None or self.spread.change == 0 else self.spread.doubt

    def worse_than(self, allowed: float, levels: Levels) -> bool | None:
        """Whether it is shown to be more than allowed; None where too few samples tell."""
        if within(self.amount, allowed):
            return False
        if self.paired is not None:
            return True if self.paired.worse(allowed / 100) <= levels.alpha else None
        if self.spread is None:
            return True
        return True if self.spread.low(levels.alpha / 2) > allowed else None

    def equivalent_within(self, margin: float, levels: Levels) -> bool | None:
        """Whether it is shown to be so near, or to be farther; None where too few samples tell."""
        if self.paired is not None:
            if self.paired.equivalent(margin / 100) <= levels.alpha:
                return True
        elif self.spread is None:
            return within(abs(self.amount), margin)
        elif self._near(self.spread, margin, levels.alpha):
            return True
        mirrored = Fall(
            -self.amount,
            None if self.spread is None else self.spread.mirrored(),
            None
            if self.paired is None
            else Paired(self.paired.gains, self.paired.losses, self.paired.total),
            self.samples,
            self.share,
        )
        far = self.worse_than(margin, levels) or mirrored.worse_than(margin, levels)
        return False if far else None

    def _near(self, spread: Spread, margin: float, alpha: float) -> bool:
        """Whether both one-sided tests say so; of points, with what no sample may have shown."""
        unseen = 100 * statistics.unseen_share(self.samples, alpha) if self.share else 0.0
        ends = -spread.low(alpha / 2), spread.high(alpha / 2), abs(self.amount) + unseen
        return max(ends) <= margin

    def needed(self, margin: float, levels: Levels, *, alike: bool = False) -> int | None:
        """How many samples would tell; None for too many."""
        if self.paired is None:
            excess = abs(margin - abs(self.amount)) if alike else self.amount - margin
            half = 0.0
            if self.spread is not None:
                half = (self.spread.high(0.025) - self.spread.low(0.025)) / 2
            needed = statistics.figure_samples_needed(
                excess, half, self.samples, alpha=levels.alpha, wanted=levels.power
            )
            if not alike or needed is None or not self.share:
                return needed
            return max(needed, statistics.samples_to_see(excess / 100, levels.alpha))
        test = statistics.is_equivalent if alike else statistics.is_worse
        losses, gains = (count / self.samples for count in (self.paired.losses, self.paired.gains))
        beyond = abs(losses - gains) >= margin / 100 if alike else losses - gains <= margin / 100
        if beyond:
            return None
        return statistics.samples_needed(
            losses, gains, test(margin / 100, levels.alpha), wanted=levels.power
        )


def side_now(context: Context, stage: Stage, key: str = "") -> Side | None:
    """A figure of this run; None where it has none.

    Args:
        context: the run.
        stage: of it.
        key: of the figure; empty for the main one.
    """
    observed = context.measured.observed
    if stage.score is None and key in ("", ACCURACY):
        if stage.accuracy is None:
            return None
        correct = observed.correct(stage)
        return Side(float(correct.mean()), correct)
    name = key or (stage.score.name if stage.score is not None else "")
    score = observed.figures.get(stage.name, {}).get(name)
    if score is None or not math.isfinite(score.value):
        return None
    return Side(score.value, drawn=observed.resampled.get(stage.name, {}).get(name, np.empty(0)))


def side_then(stage: Stage, then: Entry, key: str = "") -> Side | None:
    """The same figure in the baseline; None where it holds none."""
    if stage.score is None and key in ("", ACCURACY):
        return None if then.correct is None else Side(then.value, then.correct)
    if stage.score is not None and key in ("", stage.score.name):
        return None if then.score is None else Side(then.score, drawn=then.resampled)
    if key not in then.values:
        return None
    return Side(then.values[key], drawn=then.further.get(key, np.empty(0)))


def score_of(context: Context, stage: Stage, key: str = "") -> Score | None:
    """A figure of this run as a score; None of an accuracy."""
    figures = context.measured.observed.figures.get(stage.name, {})
    return figures.get(key) if key else stage.score


def no_number(called: str, score: Score) -> tuple[str, str]:
    """What is said of a figure that is NaN or infinite, and what to do about it."""
    value = "NaN" if math.isnan(score.value) else "infinite"
    hint = "use more samples, with labels of the kind that it is about, or correct its meter"
    return f"{called} is {value} on these samples", hint


def fall_of(context: Context, stage: Stage, then: Entry, key: str = "") -> Fall | None:
    """How much worse a stage is than in the baseline; None where the two have no common figure."""
    before, now = side_then(stage, then, key), side_now(context, stage, key)
    if before is None or now is None:
        return None
    samples = context.measured.observed.comparison.samples
    return fall_between(score_of(context, stage, key), before, now, samples)


def fall_between(
    score: Score | None, before: Side, now: Side, samples: int, *, members: int | None = None
) -> Fall:
    """The fall from one figure to another of the same samples.

    Args:
        score: the later one; None of an accuracy.
        before: the earlier one.
        now: the later one.
        samples: how many were run.
        members: how many of those both are about; None for all.
    """
    if before.correct is not None and now.correct is not None:
        return paired_fall(before.correct, now.correct)
    amount = drop_between(before.value, now.value, score)
    drawn = drawn_falls(score, before, now)
    spread = None if drawn is None else Spread.of(amount, samples, drawn, members=members)
    return Fall(amount, spread, None, members or samples, is_share(score))


def drawn_falls(score: Score | None, before: Side, now: Side) -> NDArray[np.float64] | None:
    """The fall on each resample, (resamples,); None where nothing tells.

    Per cent of the earlier figure are taken around its value on all samples, so that a resample on
    which it is zero counts too.
    """
    if not len(now.drawn) or len(now.drawn) != len(before.drawn):
        return None
    better = 1 if score is None or score.higher_is_better else -1
    if score is None or score.percent:
        return 100 * better * (before.drawn - now.drawn)
    if before.value == 0:
        return None
    ratio, amount = now.value / before.value, drop_between(before.value, now.value, score)
    around = 100 * better * (ratio * before.drawn - now.drawn) / abs(before.value)
    return np.asarray(amount + around)


def paired_fall(before: NDArray[np.bool_], now: NDArray[np.bool_]) -> Fall:
    """The fall between two sets of right answers, (samples,) each."""
    paired = Paired(int((before & ~now).sum()), int((~before & now).sum()), len(now))
    return Fall(100 * paired.drop, None, paired, len(now))


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


def value_of(stage: Stage) -> float:
    """The score of a stage, or its accuracy as a fraction; NaN without labels."""
    if stage.score is not None:
        return stage.score.value
    return math.nan if stage.accuracy is None else stage.accuracy.fraction


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


def untold(doubt: str) -> str:
    """Why no interval is told, for the end of a sentence; nothing where one is."""
    return f"; no 95 % interval is told, since {doubt}" if doubt else ""
