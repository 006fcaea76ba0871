"""The gap to float: a new float network is not blamed on quantisation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeq.deploy.gate import statistics
from edgeq.deploy.gate.judges.context import WRITE_AGAIN, finding, not_run, within
from edgeq.deploy.gate.judges.fall import (
    drawn_falls,
    drop_between,
    fall_between,
    paired_fall,
    side_now,
    side_then,
    too_few,
    unit_of,
    untold,
)
from edgeq.deploy.gate.statistics import Spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.deploy.gate.config import Rule
    from edgeq.deploy.gate.judges.context import Context
    from edgeq.deploy.gate.judges.fall import Fall
    from edgeq.deploy.gate.result import Finding
    from edgeq.results import Stage


def gap(rule: Rule, context: Context) -> Iterator[Finding]:
    """Judge how far a stage is below the float stage of the same run."""
    first = context.float_stage()
    for stage in context.stages(rule):
        if first is None:
            yield not_run(
                rule,
                stage.name,
                f"the float stage {context.config.float_stage!r} was not run",
                'name one that is, as float = "net.onnx @ ort-cpu"',
            )
            continue
        if stage.name == first.name:
            continue
        yield from _gap(rule, context, stage, first)


def _gap(rule: Rule, context: Context, stage: Stage, first: Stage) -> Iterator[Finding]:
    observed, levels = context.measured.observed, context.config.levels
    if stage.score is None and first.score is None:
        now = paired_fall(observed.correct(first), observed.correct(stage))
    elif stage.score is not None and first.score is not None:
        sides = [side_now(context, each) for each in (first, stage)]
        if sides[0] is None or sides[1] is None:
            return
        now = fall_between(stage.score, sides[0], sides[1], observed.comparison.samples)
    else:
        return
    most, growth = rule.number("max"), rule.number("max_growth")
    if most is not None:
        worse = now.worse_than(most, levels)
        needed = now.needed(most, levels) if worse is None else None
        yield finding(
            rule,
            "max",
            stage.name,
            "inconclusive" if worse is None else "fail" if worse else "pass",
            f"it is {now.amount:.2f} {unit_of(stage.score)} below {first.name}, {most:g} "
            f"{unit_of(stage.score)} are allowed"
            + (too_few(needed, now.samples) if worse is None else "")
            + untold(now.doubt),
            metric="gap to float",
            measured=now.amount,
            interval=now.interval,
            unit=unit_of(stage.score),
            samples_needed=needed,
        )
    if growth is not None:
        yield _growth(rule, context, (stage, first), now, growth)


def _growth(
    rule: Rule, context: Context, stages: tuple[Stage, Stage], now: Fall, growth: float
) -> Finding:
    """Whether the gap grew: each sample counts with how its gap changed."""
    stage, first = stages
    then, reference = (context.baseline.stages.get(each.name) for each in stages)
    if then is None or reference is None:
        return finding(
            rule,
            "max_growth",
            stage.name,
            "not-run",
            f"the baseline has no {(stage if then is None else first).name}",
            next_command=WRITE_AGAIN,
        )
    before = drop_between(reference.value, then.value, stage.score)
    grown, interval = now.amount - before, None
    if then.correct is not None and reference.correct is not None and stage.score is None:
        observed = context.measured.observed
        each = 100.0 * (
            observed.correct(first).astype(np.int8)
            - observed.correct(stage).astype(np.int8)
            - reference.correct.astype(np.int8)
            + then.correct.astype(np.int8)
        )
        half = statistics.NORMAL.inv_cdf(1 - context.config.levels.alpha / 2) * float(
            each.std() / math.sqrt(len(each))
        )
        interval = (grown - half, grown + half)
    elif stage.score is not None:
        interval = _growth_of_scores(context, stages, grown)
    good = within(grown, growth)
    sure = interval is None or interval[0] > growth
    needed, samples = None, context.measured.observed.comparison.samples
    if interval is not None and not good and not sure:
        levels = context.config.levels
        needed = statistics.figure_samples_needed(
            grown - growth, interval[1] - grown, samples, alpha=levels.alpha, wanted=levels.power
        )
    return finding(
        rule,
        "max_growth",
        stage.name,
        "pass" if good else "fail" if sure else "inconclusive",
        f"its gap to {first.name} was {before:.2f} and is {now.amount:.2f} "
        f"{unit_of(stage.score)}; it may grow by {growth:g}"
        + ("" if good or sure else too_few(needed, samples)),
        metric="gap to float",
        measured=now.amount,
        baseline=before,
        limit=before + growth,
        samples_needed=needed,
        interval=None if interval is None else (before + interval[0], before + interval[1]),
        unit=unit_of(stage.score),
    )


def _growth_of_scores(
    context: Context, stages: tuple[Stage, Stage], grown: float
) -> tuple[float, float] | None:
    """The interval of how much the gap of two scores grew; None where nothing tells."""
    stage, first = stages
    now = [side_now(context, each) for each in (first, stage)]
    then = [side_then(each, context.baseline.stages[each.name]) for each in (first, stage)]
    gaps = [
        None if one is None or other is None else drawn_falls(stage.score, one, other)
        for one, other in (then, now)
    ]
    if gaps[0] is None or gaps[1] is None or len(gaps[0]) != len(gaps[1]):
        return None
    samples, tail = context.measured.observed.comparison.samples, context.config.levels.alpha / 2
    spread = Spread.of(grown, samples, gaps[1] - gaps[0])
    return spread.low(tail), spread.high(tail)
