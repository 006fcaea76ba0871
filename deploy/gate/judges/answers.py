"""Rules about single answers: agreement with the reference stage, and change since the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.deploy.gate import statistics
from edgeq.deploy.gate.judges.context import MOST_IDS, WRITE_AGAIN, finding
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edgeq.deploy.gate.baseline import Entry
    from edgeq.deploy.gate.config import Rule
    from edgeq.deploy.gate.judges.context import Context
    from edgeq.deploy.gate.result import Finding
    from edgeq.results import Stage

_WORDS = {
    "max_answers": "answered otherwise than in the baseline",
    "max_lost": "right in the baseline and wrong now",
    "max_outputs": "given another output, to the bit, than in the baseline",
}


def agreement(rule: Rule, context: Context) -> Iterator[Finding]:
    """Judge how many answers are those of the reference stage: the exact binomial test."""
    least, levels = rule.number("min") or 0.0, context.config.levels
    comparison = context.measured.observed.comparison
    for stage in context.stages(rule):
        if stage.agreement is None:
            yield finding(
                rule,
                "min",
                stage.name,
                "not-run",
                "its answers cannot be equal or different: they are values",
                next_command="judge them by drift.min_sqnr_db",
            )
            continue
        equal = round(stage.agreement * comparison.samples)
        p = statistics.below_share_p(equal, comparison.samples, least)
        good = stage.agreement >= least
        needed = None
        if not good and p > levels.alpha:
            half = 1.96 * np.sqrt(stage.agreement * (1 - stage.agreement) / comparison.samples)
            needed = statistics.figure_samples_needed(
                least - stage.agreement, float(half), comparison.samples, alpha=levels.alpha
            )
        yield finding(
            rule,
            "min",
            stage.name,
            "pass" if good else "fail" if p <= levels.alpha else "inconclusive",
            f"{100 * stage.agreement:.2f} % of the answers are those of {comparison.reference}, "
            f"{100 * least:g} % are asked for",
            measured=100 * stage.agreement,
            limit=100 * least,
            unit="%",
            samples=() if good else stage.flipped,
            samples_needed=needed,
        )


def changed(rule: Rule, context: Context) -> Iterator[Finding]:
    """Judge which samples are answered otherwise than in the baseline: a count, and no chance."""
    for stage, then in context.pairs(rule):
        for setting, noun in _WORDS.items():
            allowed = rule.number(setting)
            if allowed is None:
                continue
            found = _changed(context, stage, then, setting)
            if found is None:
                yield finding(
                    rule,
                    setting,
                    stage.name,
                    "not-run",
                    "the baseline and this run hold no answers that could be compared",
                    next_command=WRITE_AGAIN,
                )
                continue
            number = int(found.sum())
            yield finding(
                rule,
                setting,
                stage.name,
                "pass" if number <= allowed else "fail",
                f"{counted(number, 'sample', 'are', of=len(found))} "
                f"{noun}, {int(allowed):,} may be",
                measured=float(number),
                samples=tuple(int(each) for each in context.measured.part.ids[found][:MOST_IDS]),
            )


def _changed(context: Context, stage: Stage, then: Entry, setting: str) -> NDArray[np.bool_] | None:
    """Which samples changed, (samples,); None where the two hold nothing to compare."""
    observed = context.measured.observed
    if setting == "max_outputs":
        now = observed.outputs[stage.name]
        return now != then.outputs if len(now) == len(then.outputs) else None
    if stage.name not in observed.answers or then.answers is None or then.correct is None:
        return None
    if setting == "max_lost":
        return then.correct & ~observed.correct(stage)
    differs: NDArray[np.bool_] = observed.answers[stage.name] != then.answers
    return differs
