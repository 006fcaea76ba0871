"""Rules about time: always a ratio of two sessions that were timed in turns on this machine."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from edgeq.deploy.gate.judges.context import finding
from edgeq.errors import EdgeqError, Inconclusive
from edgeq.timing import ratio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.deploy.gate.config import Rule
    from edgeq.deploy.gate.judges.context import Context
    from edgeq.deploy.gate.result import Finding
    from edgeq.timing.ratios import Ratio

_LONGER = "time it for longer: seconds = 10"


def latency(rule: Rule, context: Context) -> Iterator[Finding]:
    """Judge the time of a file over that of the baseline's file."""
    most = rule.number("max_ratio") or 0.0
    for stage, then in context.pairs(rule):
        old = f"then {stage.name}"
        if old not in context.measured.profiles:
            same = context.measured.observed.artefacts[stage.name] == then.sha256
            yield finding(
                rule,
                "max_ratio",
                stage.name,
                "pass" if same else "not-run",
                "the file is the baseline's own, and latencies of two days are not compared"
                if same
                else "the baseline's file is not at hand, so that both could be timed here; "
                "latencies of two machines or two days are not compared",
                next_command="" if same else "commit the files, and add --against origin/main",
            )
            continue
        found = _ratio(context, stage.name, old)
        yield _judged(rule, "max_ratio", stage.name, found, most, "times as long as before")


def speed_up(rule: Rule, context: Context) -> Iterator[Finding]:
    """Judge how many times as fast a stage is as another one."""
    least = rule.number("min") or 0.0
    first = context.float_stage()
    over = rule.text("over") or (first.name if first else context.config.float_stage)
    for stage in context.stages(rule):
        if stage.name == over:
            continue
        found = _ratio(context, over, stage.name)
        judged = _judged(rule, "min", stage.name, found, least, f"times as fast as {over}")
        yield _blamed(judged, context, over) if judged.outcome == "fail" else judged


def _blamed(judged: Finding, context: Context, over: str) -> Finding:
    """A finding that a stage is too slow, and how to see by which operators."""
    pairs = [context.measured.pairs[name] for name in (over, judged.stage)]
    files = dict.fromkeys(str(pair.artefact) for pair in pairs)
    targets = dict.fromkeys(pair.target for pair in pairs)
    least = f"--require-speedup={judged.limit:g}" if len(targets) == 1 else "--operators"
    ask = ["edgeq", "profile", *files, "--target", ",".join(targets), least]
    return replace(
        judged,
        cause="both were timed here in turns: nothing that changed since the baseline is in it",
        next_command=shlex.join(ask),
    )


def _ratio(context: Context, a: str, b: str) -> Ratio | tuple[str, str]:
    """The time of one over that of another; else why there is none, and what to do about it."""
    for name in (a, b):
        if name in context.measured.not_timed:
            failure = context.measured.not_timed[name]
            return failure.what, failure.hint
        if name not in context.measured.profiles:
            return f"{name} was not timed", "name a stage of this run"
    first, second = (context.measured.profiles[name] for name in (a, b))
    if first.kind != "measured" or second.kind != "measured":
        return (
            f"{a} is {first.kind} and {b} {second.kind}; only measured times are compared",
            "name stages that are measured",
        )
    try:
        return ratio(first.latency, second.latency)
    except EdgeqError as error:
        return error.what, _LONGER if isinstance(error, Inconclusive) else error.hint


def _judged(
    rule: Rule,
    setting: str,
    stage: str,
    found: Ratio | tuple[str, str],
    limit: float,
    words: str,
) -> Finding:
    """Pass where the whole interval is on the right side, fail where it is on the wrong one."""
    if isinstance(found, tuple):
        why, hint = found
        return finding(rule, setting, stage, "not-run", why, next_command=hint)
    small = setting == "max_ratio"
    wrong = found.low > limit if small else found.high < limit
    right = found.high <= limit if small else found.low >= limit
    return finding(
        rule,
        setting,
        stage,
        "fail" if wrong else "pass" if right else "inconclusive",
        f"it is {found.value:.2f} {words} ({found.low:.2f} to {found.high:.2f}), "
        f"{'at most' if small else 'at least'} {limit:g} is asked for",
        measured=found.value,
        interval=(found.low, found.high),
        unit="x",
        next_command="" if right or wrong else _LONGER,
    )
