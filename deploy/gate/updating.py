"""Writes a run as the baseline: what changes is shown, and only what is named is touched."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeq.deploy.gate.baseline import context_changes
from edgeq.deploy.gate.config import matches
from edgeq.deploy.gate.judges.context import key_of
from edgeq.deploy.gate.judges.fall import (
    fall_of,
    in_its_unit,
    no_number,
    score_of,
    side_then,
    unit_of,
)
from edgeq.deploy.gate.judges.files import told
from edgeq.deploy.gate.judging import incomparable
from edgeq.deploy.gate.numbers import changes
from edgeq.deploy.gate.result import Delta
from edgeq.deploy.guessing import like_guessing
from edgeq.errors import Inconclusive, UsageError
from edgeq.results import require_all
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeq.deploy.gate.baseline import Baseline
    from edgeq.deploy.gate.config import GateConfig
    from edgeq.deploy.gate.judges.context import Context
    from edgeq.deploy.gate.measuring import Measured
    from edgeq.deploy.gate.numbers import Change
    from edgeq.results import Failure

_SHARES = {"accuracy", "agreement", "integer_share"}


def require_plausible(measured: Measured, classes: int) -> None:
    """Return where no accuracy is one that guessing reaches too.

    Raises:
        Inconclusive: one is.
    """
    like = [
        f"{stage.name}: {what}"
        for stage in measured.observed.comparison.stages
        if stage.accuracy is not None and (what := like_guessing(stage.accuracy, classes))
    ]
    if like:
        raise Inconclusive(
            f"no baseline is written: {'; '.join(like)}",
            hint="; ".join((*measured.observed.comparison.remarks, "accept it as it is by "))
            + "--accept-guessing",
        )


def require_run(failures: Sequence[Failure], named: tuple[str, ...]) -> None:
    """Return where every stage that is to be accepted ran.

    Raises:
        TargetError: one failed.
    """
    require_all([failure for failure in failures if matches(failure.name, named)])


def require_numbers(config: GateConfig, measured: Measured, named: tuple[str, ...]) -> None:
    """Return where every figure that a rule judges is a number, of the stages to accept.

    Raises:
        Inconclusive: one is NaN or infinite, so that a later run could not be judged by it.
    """
    found = {}
    for rule in config.rules:
        for stage in measured.observed.comparison.stages:
            if rule.name != "metric" or not (
                rule.covers(stage.name) and matches(stage.name, named)
            ):
                continue
            key = key_of(rule, measured, stage)
            score = measured.observed.figures.get(stage.name, {}).get(key)
            if score is not None and not math.isfinite(score.value):
                what, hint = no_number(key, score)
                found[f"{stage.name}: {what}"] = hint
    if found:
        raise Inconclusive(
            f"no baseline is written: {'; '.join(found)}",
            hint=f"{next(iter(found.values()))}; to write it without, add --accept-worse",
        )


def updated(
    context: Context, *, named: tuple[str, ...], forget: tuple[str, ...], accept_worse: bool
) -> Baseline:
    """The baseline with what a run measured of the named stages.

    Args:
        context: the run and the baseline as it is.
        named: patterns of the stages to accept; empty for all.
        forget: patterns of the stages to leave out from now on.
        accept_worse: whether a stage may be worse than in the baseline.

    Raises:
        UsageError: a pattern is none of the stages, or the baseline is about other samples and only
            some stages are named.
        Inconclusive: a stage would be lost, became worse or cannot be compared, and nobody said
            that it may.
    """
    before, now = context.baseline, context.measured.baseline(context.config.threads)
    _require_known(named, now.stages, "was run")
    _require_known(forget, before.stages, "is in the baseline")
    gone = [name for name in before.stages if forget and matches(name, forget)]
    if run_now := [name for name in gone if name in now.stages]:
        raise UsageError(
            f"{run_now[0]} is to be forgotten, and the rules have it run",
            hint="take it out of the stages of the rules first, or name others by --forget",
        )
    chosen = [name for name in now.stages if matches(name, named) and name not in gone]
    lost = [name for name in before.stages if name not in now.stages and name not in gone]
    other = incomparable(context)
    if other is not None and (named or lost):
        what = "are named" if named else "ran, and the baseline has " + ", ".join(lost)
        raise UsageError(
            f"the baseline is about other samples or another measure, and only some stages {what}",
            hint="accept all stages at once, and forget the others by --forget",
        )
    if lost and not named:
        raise Inconclusive(
            f"in the baseline, and not run: {', '.join(lost)}",
            hint=f"run them, name what to accept by --stage, or add --forget '{lost[0]}'",
        )
    if other is not None:
        if not accept_worse:
            _require_new(context, chosen, other)
        return before.with_stages(now, chosen, gone)
    worse = _worse(context, chosen)
    if worse and not accept_worse:
        raise Inconclusive(
            f"no baseline is written: {'; '.join(worse)}",
            hint="find the cause by edgeq gate without --update; to accept it, add --accept-worse",
        )
    return before.with_stages(now, chosen, gone)


def _require_new(context: Context, chosen: Sequence[str], other: tuple[str, str, str]) -> None:
    """Return where the baseline has none of the stages, so that none can have become worse.

    Raises:
        Inconclusive: it has one, and what it holds of it cannot be compared.
    """
    then, now = context.baseline.stages, context.measured.observed.artefacts
    both = [name for name in chosen if name in then]
    if not both:
        return
    changed = [then[name].artefact for name in both if now[name] != then[name].sha256]
    files = ", ".join(dict.fromkeys(changed)) or "no file"
    _, why, hint = other
    raise Inconclusive(
        f"no baseline is written: whether {counted(len(both), 'stage', 'are')} worse "
        f"cannot be told, for {why}; {files} changed since",
        hint=f"first judge what the baseline is about: {hint}; to accept what is measured now, "
        "add --accept-worse",
    )


def _require_known(patterns: tuple[str, ...], stages: Mapping[str, object], where: str) -> None:
    for pattern in patterns:
        if not any(matches(name, (pattern,)) for name in stages):
            raise UsageError(
                f"no stage {pattern!r} {where}", hint=f"known: {', '.join(stages) or 'none'}"
            )


def _worse(context: Context, chosen: Sequence[str]) -> list[str]:
    """What is worse than the largest fall that a rule allows; a sentence each."""
    rules = [rule for rule in context.config.rules if rule.name in ("accuracy", "metric")]
    main = [rule.number("max_drop") or 0.0 for rule in rules if rule.name == "accuracy"]
    found = []
    for stage in context.measured.observed.comparison.stages:
        then = context.baseline.stages.get(stage.name)
        if stage.name not in chosen or then is None:
            continue
        allowed = {"": max(main, default=0.0)}
        for rule in rules:
            if rule.name == "metric" and rule.covers(stage.name):
                key, limit = context.key(rule, stage), rule.number("max_drop") or 0.0
                allowed[key] = max(limit, allowed.get(key, 0.0))
        for key, limit in allowed.items():
            fall, score = fall_of(context, stage, then, key), score_of(context, stage, key)
            if fall is None and side_then(stage, then, key) is not None:
                called = key or context.metric
                found.append(f"{stage.name} has no {called} any more, and the baseline has")
            if fall is not None and fall.amount > limit:
                amount = f" by {fall.amount:.2f} {unit_of(score)}"
                value = in_its_unit(score, then.values[key] if key else then.value)
                called = f" of {key}" if key else ""
                found.append(f"{stage.name} is worse{amount} than the baseline's {value}{called}")
    return found


def deltas(before: Baseline | None, now: Baseline, measured: Measured) -> tuple[Delta, ...]:
    """Every figure that is another one, stages that are new or gone too; then the files' parts."""
    old = {} if before is None else before.stages
    shares = _SHARES | {
        name
        for figures in measured.observed.figures.values()
        for name, score in figures.items()
        if score.percent
    }
    found = []
    for name in {**old, **now.stages}:
        sides = [each.get(name) for each in (old, now.stages)]
        figures = [{} if entry is None else entry.values for entry in sides]
        found += [
            Delta(name, metric, figures[0].get(metric), figures[1].get(metric), metric in shares)
            for metric in {**figures[0], **figures[1]}
            if figures[0].get(metric) != figures[1].get(metric)
        ]
    found += [
        Delta(file, "parts with other numbers", 0.0, float(len(parts)))
        for file, (_, parts) in _other_files(before, now).items()
        if parts
    ]
    return tuple(found)


def conditions_changed(before: Baseline | None, now: Baseline) -> Iterator[str]:
    """What is otherwise of what was judged and how, beside files and figures, a sentence each."""
    if before is None:
        return
    if (other := now.data.differs(before.data)) is not None:
        yield f"accepted with other samples or feeding: before this, {other[0]}"
    for each in context_changes(before.context, now.context):
        yield f"accepted with {each}"
    was, drawn = _resamples(before), _resamples(now)
    if was != drawn:
        yield f"accepted with figures on {counted(drawn, 'resample')}, and {was:,} before"


def _resamples(baseline: Baseline) -> int:
    """The most that a figure of a baseline was taken on."""
    return max(
        (
            len(drawn)
            for entry in baseline.stages.values()
            for drawn in (entry.resampled, *entry.further.values())
        ),
        default=0,
    )


def files_changed(before: Baseline | None, now: Baseline) -> Iterator[str]:
    """What each file has otherwise than in the baseline, a sentence each."""
    for file, (then, parts) in _other_files(before, now).items():
        yield f"{file} is another file: " + (
            told(parts, then) if parts else "it has other bytes, and the same numbers"
        )


def _other_files(
    before: Baseline | None, now: Baseline
) -> dict[str, tuple[Mapping[str, str], list[Change]]]:
    """Files that both hold and that are others now: what was in it, and what changed."""
    if before is None:
        return {}
    then, new = (
        {(entry.artefact, entry.sha256) for entry in each.stages.values()} for each in (before, now)
    )
    known = {file for file, _ in then}
    return {
        file: (before.numbers.get(file, {}), changes(before.numbers.get(file, {}), parts))
        for file, parts in now.numbers.items()
        if file in known and any(each[0] == file for each in new - then)
    }
