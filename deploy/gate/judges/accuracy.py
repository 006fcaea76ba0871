"""Rules about accuracy, the score of a task, and the gap to float."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.deploy.gate import statistics
from edgeq.deploy.gate.judges.context import MOST_IDS, WRITE_AGAIN, finding, not_run, within
from edgeq.deploy.gate.judges.fall import (
    drop_between,
    fall_of,
    figures,
    in_its_unit,
    is_share,
    paired_fall,
    scaled,
    too_few,
    unit_of,
    value_of,
)
from edgeq.metrics.accuracy import wilson
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from edgeq.deploy.gate.baseline import Entry
    from edgeq.deploy.gate.config import Rule
    from edgeq.deploy.gate.judges.context import Context
    from edgeq.deploy.gate.judges.fall import Fall
    from edgeq.deploy.gate.result import Finding, FindingOutcome
    from edgeq.results import Stage

FEWEST = 5  # samples of a class or slice that is judged
MOST_SLICES = 50
_OUTCOMES: Mapping[bool | None, FindingOutcome] = {
    True: "fail",
    False: "pass",
    None: "inconclusive",
}
"""By whether something is worse."""


def accuracy(rule: Rule, context: Context) -> Iterator[Finding]:
    """Judge the main figure of each stage."""
    for stage, then in context.pairs(rule):
        fall = fall_of(context, stage, then)
        if fall is None:
            yield not_run(
                rule,
                stage.name,
                f"the baseline holds no {context.metric} of it",
                WRITE_AGAIN,
            )
            continue
        yield from _judged(rule, context, stage, then, fall)
    if rule.number("min") is not None:
        yield from _at_least(rule, context)
    if rule.number("worst_class_max_drop") is not None:
        yield from _worst(rule, context, "worst_class_max_drop")
    if rule.number("worst_slice_max_drop") is not None:
        yield from _worst(rule, context, "worst_slice_max_drop")


def _judged(
    rule: Rule, context: Context, stage: Stage, then: Entry, fall: Fall
) -> Iterator[Finding]:
    levels = context.config.levels
    ids = _lost(context, stage, then)
    now = value_of(context, stage)
    told = _told(stage, then, fall, now, context.metric)
    allowed = rule.number("max_drop")
    if allowed is not None:
        worse = fall.worse_than(allowed, levels)
        needed = fall.needed(allowed, levels) if worse is None else None
        yield finding(
            rule,
            "max_drop",
            stage.name,
            _OUTCOMES[worse],
            f"{told}; {allowed:g} {unit_of(stage.score)} may be lost"
            + (too_few(needed, fall.samples) if worse is None else ""),
            metric=context.metric,
            samples=ids if worse is not False else (),
            samples_needed=needed,
            **figures(fall, then.value, now, allowed, stage.score),
        )
    margin = rule.number("equivalent_within")
    if margin is not None:
        alike = fall.equivalent_within(margin, levels)
        needed = fall.needed(margin, levels, alike=True) if alike is None else None
        word = {True: "is equivalent", False: "is not equivalent", None: "may be equivalent or not"}
        yield finding(
            rule,
            "equivalent_within",
            stage.name,
            "inconclusive" if alike is None else "pass" if alike else "fail",
            f"{told}; it {word[alike]} within {margin:g} {unit_of(stage.score)}"
            + (too_few(needed, fall.samples) if alike is None else ""),
            metric=context.metric,
            samples=() if alike else ids,
            samples_needed=needed,
            **figures(fall, then.value, now, margin, stage.score),
        )


def _told(stage: Stage, then: Entry, fall: Fall, now: float, metric: str) -> str:
    way = "lost" if fall.amount > 0 else "gained"
    if stage.score is not None and not (stage.score.percent and stage.score.higher_is_better):
        way = "is worse by" if fall.amount > 0 else "is better by"
    if stage.score is not None and not stage.score.percent:
        figures = f"{then.value:.4g} in the baseline, {now:.4g} now"
        return f"{way} {abs(fall.amount):.2f} % of {metric}: {figures}"
    figures = f"{100 * then.value:.2f} % in the baseline, {100 * now:.2f} % now"
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
    return f"{way} {abs(fall.amount):.2f} points of {metric}, {figures}{counts}"


def _lost(context: Context, stage: Stage, then: Entry) -> tuple[int, ...]:
    """The ids of the samples that were right and are wrong now."""
    if then.correct is None or stage.score is not None:
        return ()
    lost = then.correct & ~context.measured.observed.correct(stage)
    return tuple(int(each) for each in context.measured.part.ids[lost][:MOST_IDS])


def _at_least(rule: Rule, context: Context) -> Iterator[Finding]:
    least, levels = rule.number("min") or 0.0, context.config.levels
    for stage in context.stages(rule):
        value, samples = value_of(context, stage), context.measured.observed.comparison.samples
        sign = 1 if stage.score is None or stage.score.higher_is_better else -1
        if stage.score is None:
            interval = wilson(round(value * samples), samples)
        else:
            interval = stage.score.interval or (value, value)
        factor = 100.0 if is_share(stage.score) else 1.0
        beyond = interval[1] < least if sign > 0 else interval[0] > least
        good = sign * value >= sign * least - 1e-12
        needed = (
            None
            if good
            else statistics.figure_samples_needed(
                abs(value - least),
                (interval[1] - interval[0]) / 2,
                samples,
                alpha=levels.alpha,
                wanted=levels.power,
            )
        )
        yield finding(
            rule,
            "min",
            stage.name,
            "pass" if good else "fail" if beyond else "inconclusive",
            f"{context.metric} is {in_its_unit(stage.score, value)}, "
            f"{in_its_unit(stage.score, least)} is asked for"
            + ("" if good or beyond else too_few(needed, samples)),
            metric=context.metric,
            **scaled(stage.score, measured=value, limit=least),
            interval=(factor * interval[0], factor * interval[1]),
            samples_needed=needed if not beyond else None,
        )


def _worst(rule: Rule, context: Context, setting: str) -> Iterator[Finding]:
    """The class or slice that fell most; the level is shared by all of them."""
    allowed, levels = rule.number(setting) or 0.0, context.config.levels
    noun = "class" if setting == "worst_class_max_drop" else "slice"
    groups = _classes(context) if noun == "class" else _slices(context)
    for stage, then in context.pairs(rule):
        if then.correct is None or stage.score is not None or not groups:
            why = f"no {noun} of these samples can be judged: they need classes"
            yield finding(
                rule,
                setting,
                stage.name,
                "not-run",
                why,
                next_command=f"leave {setting} out of the rule accuracy",
            )
            continue
        now = context.measured.observed.correct(stage)
        falls = {name: paired_fall(then.correct[mask], now[mask]) for name, mask in groups.items()}
        shared = replace(levels, alpha=levels.alpha / len(falls))
        worse = {name: each.worse_than(allowed, shared) for name, each in falls.items()}
        name, fall = max(falls.items(), key=lambda each: (worse[each[0]] is True, each[1].amount))
        outcome = _OUTCOMES[worse[name]]
        needed = fall.needed(allowed, levels) if outcome == "inconclusive" else None
        mask = groups[name]
        lost = mask & then.correct & ~now
        yield finding(
            rule,
            setting,
            stage.name,
            outcome,
            f"the worst {noun}, {name}, lost {fall.amount:.2f} points on "
            f"{counted(fall.samples, 'sample')}; {allowed:g} points may be lost"
            + (too_few(needed, fall.samples) if outcome == "inconclusive" else ""),
            metric=f"{context.metric} of {noun} {name}",
            **figures(
                fall, float(then.correct[mask].mean()), float(now[mask].mean()), allowed, None
            ),
            samples=()
            if outcome == "pass"
            else tuple(int(i) for i in context.measured.part.ids[lost][:MOST_IDS]),
            samples_needed=needed,
        )


def _classes(context: Context) -> dict[str, NDArray[np.bool_]]:
    labels = context.measured.observed.labels
    if labels is None:
        return {}
    masks = {str(int(each)): labels == each for each in np.unique(labels)}
    return {name: mask for name, mask in masks.items() if mask.sum() >= FEWEST}


def _slices(context: Context) -> dict[str, NDArray[np.bool_]]:
    found: dict[str, NDArray[np.bool_]] = {}
    for column, values in context.measured.part.columns.items():
        kinds = np.unique(values)
        if len(kinds) <= MOST_SLICES:
            found |= {f"{column} {kind}": values == kind for kind in kinds}
    return {name: mask for name, mask in found.items() if mask.sum() >= FEWEST}


def metric(rule: Rule, context: Context) -> Iterator[Finding]:
    """Judge another figure of the task, as it is on these samples."""
    name = rule.text("name")
    for stage, then in context.pairs(rule):
        now, before = context.measured.values[stage.name].get(name), then.values.get(name)
        setting = "max_drop" if rule.number("max_drop") is not None else "min"
        if now is None or (setting == "max_drop" and before is None):
            have = ", ".join(context.measured.values[stage.name])
            where = "this run" if now is None else "the baseline"
            yield finding(
                rule,
                setting,
                stage.name,
                "not-run",
                f"{where} has no {name!r}; it has {have}",
                metric=name,
                next_command="give one of those as the name of the rule metric, or " + WRITE_AGAIN,
            )
            continue
        allowed, least = rule.number("max_drop"), rule.number("min")
        if allowed is not None and before is not None:
            fall = drop_between(before, now, stage.score)
            yield finding(
                rule,
                "max_drop",
                stage.name,
                "pass" if within(fall, allowed) else "fail",
                f"{name} was {in_its_unit(stage.score, before)} and is "
                f"{in_its_unit(stage.score, now)}: worse by {fall:.2f} {unit_of(stage.score)}, "
                f"{allowed:g} {unit_of(stage.score)} are allowed",
                metric=name,
                **scaled(stage.score, measured=now, baseline=before),
            )
        if least is not None:
            yield finding(
                rule,
                "min",
                stage.name,
                "pass" if now >= least else "fail",
                f"{name} is {in_its_unit(stage.score, now)}, "
                f"{in_its_unit(stage.score, least)} is asked for",
                metric=name,
                **scaled(stage.score, measured=now, baseline=before, limit=least),
            )
