"""The class or slice of the samples whose figure fell most.

The level is shared by all of them, so that the worst of many falls by luck as seldom as one alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.brief import brief
from edgeq.deploy.gate.judges.context import (
    MOST_IDS,
    OUTCOMES,
    WRITE_AGAIN,
    finding,
)
from edgeq.deploy.gate.judges.fall import (
    Side,
    fall_between,
    figures,
    is_share,
    paired_fall,
    side_now,
    side_then,
    too_few,
    unit_of,
    untold,
)
from edgeq.deploy.gate.rules import worst_setting
from edgeq.tabular import counted
from edgeq.tasks.slices import FEWEST, MOST_PARTS, masks, part_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.deploy.gate.baseline import Entry
    from edgeq.deploy.gate.config import Rule
    from edgeq.deploy.gate.judges.context import Context
    from edgeq.deploy.gate.judges.fall import Fall
    from edgeq.deploy.gate.result import Finding
    from edgeq.results import Score, Stage
    from edgeq.tasks.slices import Noun

_NEEDED = {
    "class": f"they need a class each, of at least {FEWEST} samples, or a figure that classes have",
    "slice": f"they need columns of at most {MOST_PARTS} values, of at least {FEWEST} samples each",
}


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A figure of one class or slice beside the baseline's.

    Attributes:
        fall: how much worse it is.
        then: its value in the baseline.
        now: its value now.
        score: what it is like; None of an accuracy.
        ids: of the samples that were right and are wrong now.
    """

    fall: Fall
    then: float
    now: float
    score: Score | None = None
    ids: tuple[int, ...] = ()

    __repr__ = brief


def worst(rule: Rule, context: Context, noun: Noun) -> Iterator[Finding]:
    """Judge the class or slice of each stage that fell most."""
    setting = worst_setting(noun)
    allowed, levels = rule.number(setting) or 0.0, context.config.levels
    for stage, then in context.pairs(rule):
        key = context.key(rule, stage) if rule.name == "metric" else ""
        called = key or context.metric
        parts = _parts(context, stage, then, key, noun)
        if isinstance(parts, str) or not parts:
            why = f"no {noun} of these samples can be judged: {_NEEDED[noun]}"
            hint = f"leave {setting} out of the rule {rule.name}"
            if isinstance(parts, str):
                why, hint = parts, WRITE_AGAIN
            yield finding(rule, setting, stage.name, "not-run", why, next_command=hint)
            continue
        shared = replace(levels, alpha=levels.alpha / len(parts))
        worse = {name: each.fall.worse_than(allowed, shared) for name, each in parts.items()}
        name, part = max(parts.items(), key=lambda one: (worse[one[0]] is True, one[1].fall.amount))
        outcome, fall, score = OUTCOMES[worse[name]], part.fall, part.score
        needed = fall.needed(allowed, levels) if outcome == "inconclusive" else None
        way = (
            "lost"
            if is_share(score) and (score is None or score.higher_is_better)
            else "is worse by"
        )
        unit = unit_of(score)
        yield finding(
            rule,
            setting,
            stage.name,
            outcome,
            f"the worst {noun}, {name}, {way} {fall.amount:.2f} {unit} on "
            f"{counted(fall.samples, 'sample')}; {allowed:g} {unit} may be lost"
            + (too_few(needed, fall.samples) if outcome == "inconclusive" else "")
            + untold(fall.doubt),
            metric=part_key(called, noun, name),
            **figures(fall, part.then, part.now, allowed, score),
            samples=() if outcome == "pass" else part.ids,
            samples_needed=needed,
        )


def _parts(
    context: Context, stage: Stage, then: Entry, key: str, noun: Noun
) -> dict[str, _Part] | str:
    """Every part that can be judged, by name; or what the baseline lacks."""
    now, before = side_now(context, stage, key), side_then(stage, then, key)
    if now is not None and before is not None and now.correct is not None:
        return {} if before.correct is None else _of_answers(context, before, now, noun)
    observed = context.measured.observed
    called = key or (stage.score.name if stage.score is not None else "")
    start, found = part_key(called, noun, ""), {}
    for name, each in observed.parts.get(stage.name, {}).items():
        if not name.startswith(start) or not math.isfinite(each.score.value):
            continue
        if name not in then.parts:
            return f"the baseline holds no {name}"
        old = Side(then.parts[name], drawn=then.further.get(name, each.drawn[:0]))
        new = Side(each.score.value, drawn=each.drawn)
        if not new.comparable(old):
            return f"the baseline holds {name} on {counted(len(old.drawn), 'resample')}"
        total = observed.comparison.samples
        fall = fall_between(each.score, old, new, total, members=each.score.samples)
        found[name.removeprefix(start)] = _Part(fall, old.value, new.value, each.score)
    return found


def _of_answers(context: Context, before: Side, now: Side, noun: Noun) -> dict[str, _Part]:
    """Parts of an accuracy, by which samples are right."""
    part, found = context.measured.part, {}
    if before.correct is None or now.correct is None:
        return {}
    labels = context.measured.observed.labels
    for name, mask in masks(noun, labels, part.columns).items():
        then, later = before.correct[mask], now.correct[mask]
        lost = part.ids[mask][then & ~later][:MOST_IDS]
        found[name] = _Part(
            paired_fall(then, later),
            float(then.mean()),
            float(later.mean()),
            ids=tuple(int(each) for each in lost),
        )
    return found
