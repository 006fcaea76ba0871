"""Rules about accuracy, the score of a task, and the gap to float."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.brief import brief
from edgeq.deploy.evaluation.outputs.scoring import ACCURACY
from edgeq.deploy.gate import statistics
from edgeq.deploy.gate.judges.context import MOST_IDS, OUTCOMES, WRITE_AGAIN, finding, not_run
from edgeq.deploy.gate.judges.fall import (
    fall_between,
    figures,
    in_its_unit,
    is_share,
    no_number,
    scaled,
    score_of,
    side_now,
    side_then,
    too_few,
    unit_of,
    untold,
)
from edgeq.deploy.gate.judges.worst import worst
from edgeq.deploy.gate.rules import NOUNS, worst_setting
from edgeq.deploy.gate.statistics import Spread
from edgeq.metrics.accuracy import wilson
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.deploy.gate.baseline import Entry
    from edgeq.deploy.gate.config import Rule
    from edgeq.deploy.gate.judges.context import Context
    from edgeq.deploy.gate.judges.fall import Fall, Side
    from edgeq.deploy.gate.result import Finding
    from edgeq.results import Score, Stage


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """One figure of one stage beside the baseline's.

    Attributes:
        stage: its name.
        score: the figure now; None of an accuracy.
        metric: what it is called.
        then: its value in the baseline.
        now: its value now.
        fall: how much worse it is.
        ids: of the samples that were right and are wrong now.
    """

    stage: str
    score: Score | None
    metric: str
    then: float
    now: float
    fall: Fall
    ids: tuple[int, ...] = ()

    __repr__ = brief


def accuracy(rule: Rule, context: Context) -> Iterator[Finding]:
    """Judge the main figure of each stage."""
    yield from figure(rule, context)


def figure(rule: Rule, context: Context) -> Iterator[Finding]:
    """Judge one figure of each stage, the main one or another, and its worst part."""
    against = rule.number("max_drop") is not None or rule.number("equivalent_within") is not None
    for stage, then in context.pairs(rule) if against else ():
        judged = _beside(rule, context, stage, then)
        yield from _compared(rule, context, judged) if isinstance(judged, _Judged) else (judged,)
    if rule.number("min") is not None:
        for stage in context.stages(rule):
            yield _at_least(rule, context, stage)
    for noun in NOUNS:
        if rule.number(worst_setting(noun)) is not None:
            yield from worst(rule, context, noun)


def _beside(rule: Rule, context: Context, stage: Stage, then: Entry) -> _Judged | Finding:
    """The figure that a rule is about, then and now; what is missing where one is not there."""
    key = context.key(rule, stage) if rule.name == "metric" else ""
    called = key or context.metric
    now, before = side_now(context, stage, key), side_then(stage, then, key)
    if now is None:
        return _absent(rule, context, stage, key)
    if before is None:
        what = f"the baseline holds no {called} of it"
        return not_run(rule, stage.name, what, WRITE_AGAIN, metric=called)
    levels = context.config.levels
    if levels.resamples and not now.comparable(before):
        what = (
            f"the baseline holds {called} on {len(before.drawn)} resamples, and this run "
            f"has it on {len(now.drawn)}: nothing tells how sure the change is"
        )
        return not_run(rule, stage.name, what, WRITE_AGAIN, metric=called)
    score = score_of(context, stage, key)
    return _Judged(
        stage.name,
        score,
        called,
        before.value,
        now.value,
        fall_between(score, before, now, context.measured.observed.comparison.samples),
        _lost(context, before, now),
    )


def _absent(rule: Rule, context: Context, stage: Stage, key: str) -> Finding:
    """That a run has no figure of that name, or none that is a number."""
    figures = context.measured.observed.figures.get(stage.name, {})
    if key in figures:
        what, hint = no_number(key, figures[key])
        return not_run(rule, stage.name, what, hint, metric=key)
    have = ", ".join([ACCURACY, *figures] if stage.score is None else figures)
    return not_run(
        rule,
        stage.name,
        f"this run has no {key!r}; it has {have}",
        "give one of those as the name of the rule metric, or the task that has it, as "
        'task = "top5"',
        metric=key,
    )


def _compared(rule: Rule, context: Context, judged: _Judged) -> Iterator[Finding]:
    levels, fall, score = context.config.levels, judged.fall, judged.score
    told = _told(judged)
    allowed = rule.number("max_drop")
    if allowed is not None:
        worse = fall.worse_than(allowed, levels)
        needed = fall.needed(allowed, levels) if worse is None else None
        yield finding(
            rule,
            "max_drop",
            judged.stage,
            OUTCOMES[worse],
            f"{told}; {allowed:g} {unit_of(score)} may be lost"
            + (too_few(needed, fall.samples) if worse is None else "")
            + untold(fall.doubt),
            metric=judged.metric,
            samples=judged.ids if worse is not False else (),
            samples_needed=needed,
            **figures(fall, judged.then, judged.now, allowed, score),
        )
    margin = rule.number("equivalent_within")
    if margin is not None:
        alike = fall.equivalent_within(margin, levels)
        needed = fall.needed(margin, levels, alike=True) if alike is None else None
        word = {True: "is equivalent", False: "is not equivalent", None: "may be equivalent or not"}
        yield finding(
            rule,
            "equivalent_within",
            judged.stage,
            "inconclusive" if alike is None else "pass" if alike else "fail",
            f"{told}; it {word[alike]} within {margin:g} {unit_of(score)}"
            + (too_few(needed, fall.samples) if alike is None else "")
            + untold(fall.doubt),
            metric=judged.metric,
            samples=() if alike else judged.ids,
            samples_needed=needed,
            **figures(fall, judged.then, judged.now, margin, score),
        )


def _told(judged: _Judged) -> str:
    fall, score = judged.fall, judged.score
    way = "lost" if fall.amount > 0 else "gained"
    if score is not None and not (score.percent and score.higher_is_better):
        way = "is worse by" if fall.amount > 0 else "is better by"
    if score is not None and not score.percent:
        figures = f"{judged.then:.4g} in the baseline, {judged.now:.4g} now"
        return f"{way} {abs(fall.amount):.2f} % of {judged.metric}: {figures}"
    figures = f"{100 * judged.then:.2f} % in the baseline, {100 * judged.now:.2f} % now"
    counts = ""
    if fall.paired is not None:
        p = statistics.Paired(
            max(fall.paired.losses, fall.paired.gains),
            min(fall.paired.losses, fall.paired.gains),
            fall.paired.total,
        ).worse()
        counts = (
            f" ({counted(fall.paired.losses, 'sample')} lost, {fall.paired.gains} gained, "
            f"p = {p:.2g})"
        )
    return f"{way} {abs(fall.amount):.2f} points of {judged.metric}, {figures}{counts}"


def _lost(context: Context, before: Side, now: Side) -> tuple[int, ...]:
    """The ids of the samples that were right and are wrong now."""
    if before.correct is None or now.correct is None:
        return ()
    lost = context.measured.part.ids[before.correct & ~now.correct]
    return tuple(int(each) for each in lost[:MOST_IDS])


def _at_least(rule: Rule, context: Context, stage: Stage) -> Finding:
    """Whether a figure is at least what is asked for; an error at most that."""
    least, levels = rule.number("min") or 0.0, context.config.levels
    key = context.key(rule, stage) if rule.name == "metric" else ""
    side, score = side_now(context, stage, key), score_of(context, stage, key)
    if side is None:
        return _absent(rule, context, stage, key)
    value, samples = side.value, context.measured.observed.comparison.samples
    sign = 1 if score is None or score.higher_is_better else -1
    doubt = ""
    if side.correct is not None:
        interval = wilson(round(value * samples), samples)
    elif score is not None and score.interval is not None:
        interval = score.interval
    elif len(side.drawn):
        spread = Spread.of(value, samples, side.drawn)
        interval, doubt = (spread.low(0.025), spread.high(0.025)), spread.doubt
    else:
        interval = (value, value)
    factor = 100.0 if is_share(score) else 1.0
    outside = interval[1] < least if sign > 0 else interval[0] > least
    good = sign * value >= sign * least - 1e-12
    needed = None
    if not good and not outside:
        needed = statistics.figure_samples_needed(
            abs(value - least),
            (interval[1] - interval[0]) / 2,
            samples,
            alpha=levels.alpha,
            wanted=levels.power,
        )
    called = key or context.metric
    asked = "is asked for" if sign > 0 else "at most is asked for"
    return finding(
        rule,
        "min",
        stage.name,
        "pass" if good else "fail" if outside else "inconclusive",
        f"{called} is {in_its_unit(score, value)}, {in_its_unit(score, least)} {asked}"
        + ("" if good or outside else too_few(needed, samples))
        + untold(doubt),
        metric=called,
        **scaled(score, measured=value, limit=least),
        interval=None if doubt else (factor * interval[0], factor * interval[1]),
        samples_needed=needed,
    )
