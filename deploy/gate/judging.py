"""Judges a run: first whether it can be compared at all, then rule by rule."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from edgeq.deploy.evaluation.chain import availability, load_target
from edgeq.deploy.gate.baseline import require_measured
from edgeq.deploy.gate.config import matches
from edgeq.deploy.gate.judges import JUDGES
from edgeq.deploy.gate.judges.fall import value_of
from edgeq.deploy.gate.result import Finding
from edgeq.errors import EdgeqError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence

    from edgeq.deploy.evaluation.compare import Observed
    from edgeq.deploy.gate.config import Expected, GateConfig, Rule
    from edgeq.deploy.gate.judges.context import Context

_ACCEPT = "or accept what is new: edgeq gate --update"


def judge(context: Context) -> list[Finding]:
    """Every finding on a run; never none for a rule.

    Raises:
        UsageError: a stage has neither an accuracy nor a score.
    """
    require_judged(context.config, context.measured.observed)
    other = list(_other_data(context))
    if other:
        return other
    found = [*_stages(context), *_threads(context)]
    for rule in context.config.rules:
        judged = list(JUDGES[rule.name](rule, context))
        found += judged or [_nothing(rule, found)]
    return found


def require_judged(config: GateConfig, observed: Observed) -> None:
    """Return where each stage has an accuracy or a score, or no rule asks for one.

    A rule that names its own task asks for that one.

    Raises:
        UsageError: one has neither; says what it answers with.
    """
    asking = [rule for rule in config.rules if rule.name in ("accuracy", "metric", "gap")]
    if any(not rule.task.name for rule in asking):
        require_measured(observed)


def incomparable(context: Context) -> tuple[str, str, str] | None:
    """What makes every comparison with the baseline meaningless; None for nothing.

    Returns:
        What is another one, why, and how to judge what the baseline is about.
    """
    observed, then = context.measured.observed, context.baseline
    if then.metric != observed.measure:
        why = f"the baseline holds {then.metric}, and this run measures {observed.measure}"
        return "measure", why, "judge it by the same task"
    differs = observed.data.differs(then.data)
    return None if differs is None else ("samples", *differs)


def _other_data(context: Context) -> Iterator[Finding]:
    """The finding on what cannot be compared."""
    if (other := incomparable(context)) is not None:
        metric, what, hint = other
        accept = "or accept what cannot be compared: edgeq gate --update --accept-worse"
        yield Finding("data", "", metric, "inconclusive", what, next_command=f"{hint}, {accept}")


def _stages(context: Context) -> Iterator[Finding]:
    """Stages that failed, that are new, or that are gone."""
    comparison, known = context.measured.observed.comparison, context.baseline.stages
    failed = {failure.name: failure for failure in comparison.failures}
    for name, failure in failed.items():
        yield Finding(
            "stage",
            name,
            "stage",
            "not-run",
            f"{name} cannot run here: {failure.what}",
            next_command=failure.hint,
            baseline=_known(known[name].value) if name in known else None,
            target_missing=True,
        )
    ran = {stage.name for stage in comparison.stages}
    for stage in comparison.stages:
        if stage.name not in known:
            yield Finding(
                "stage",
                stage.name,
                "stage",
                "inconclusive",
                f"{stage.name} is not in the baseline",
                measured=_known(value_of(stage)),
                next_command=f"accept it: edgeq gate --update --stage '{stage.name}'",
            )
    for name in known:
        if name not in ran and name not in failed:
            yield _gone(name, known[name].value)


def _known(value: float) -> float | None:
    """A figure; None of samples without labels."""
    return value if math.isfinite(value) else None


def _gone(name: str, value: float) -> Finding:
    """A stage of the baseline that was not run."""
    forget = f"edgeq gate --update --forget '{name}'"
    why, missing, hint = "", False, f"put it back among the stages, or forget it: {forget}"
    try:
        state = availability(load_target(name.rpartition(" @ ")[2]))
    except EdgeqError as error:
        missing, hint = True, error.hint
    else:
        if not state.usable:
            missing, why, hint = True, f": {state.why_not}", state.hint
    what = f"cannot run here{why}" if missing else "is in the baseline and was not run"
    return Finding(
        "stage",
        name,
        "stage",
        "not-run",
        f"{name} {what}",
        baseline=_known(value),
        next_command=hint,
        target_missing=missing,
    )


def _threads(context: Context) -> Iterator[Finding]:
    then, now = context.baseline.context.get("threads", ""), str(context.config.threads)
    if then != now:
        yield Finding(
            "threads",
            "",
            "threads",
            "inconclusive",
            f"the baseline was taken with threads = {then or '?'}, and this run with {now}: float "
            "sums come in another order",
            cause=f"threads: {then or '?'} then, {now} now",
            next_command=f"run with threads = {then}, {_ACCEPT}",
        )


def _nothing(rule: Rule, known: Sequence[Finding]) -> Finding:
    """The finding of a rule that is about no stage of the run."""
    told = ", ".join(rule.stages) or "all"
    open_stages = any(each.rule == "stage" for each in known)
    return Finding(
        rule.name,
        "",
        rule.name,
        "not-run",
        f"the rule {rule.name} has nothing to judge among the stages {told}"
        + (": see the stages that are new or were not run" if open_stages else ""),
        next_command=f"correct its stages, or leave {rule.name} out",
        line=rule.line,
    )


def expected(
    findings: Sequence[Finding], known: Sequence[Expected], today: dt.date
) -> tuple[list[Finding], list[str]]:
    """Findings with the failures that are let pass, and what is to be said of those.

    What was not run is never let pass.
    """
    found = []
    for each in findings:
        place = next((i for i, one in enumerate(known) if _meets(one, each)), None)
        if place is None or each.outcome not in ("fail", "inconclusive"):
            found.append(each)
            continue
        one = known[place]
        if today > one.until:
            over = (
                f"; it was expected to fail until {one.until} ({one.reason}), and that day is over"
            )
            found.append(replace(each, message=each.message + over))
        else:
            told = f"{each.message}; expected until {one.until}: {one.reason}"
            found.append(replace(each, outcome="expected-failure", message=told, reason=one.reason))
    return found, [said for one in known if (said := _idle(one, findings))]


def _meets(one: Expected, finding: Finding) -> bool:
    """Whether it is about a finding."""
    return one.rule in (finding.rule, finding.rule.partition(".")[0]) and matches(
        finding.stage, (one.stage,)
    )


def _idle(one: Expected, findings: Sequence[Finding]) -> str:
    """What is to be said of an expectation that lets nothing pass; empty where it may yet."""
    met = [each for each in findings if _meets(one, each)]
    if not met:
        return f"line {one.line}: no rule was judged as {one.rule} on {one.stage}; correct it"
    if all(each.outcome == "pass" for each in met):
        return (
            f"line {one.line}: {one.rule} on {one.stage} is expected to fail and does not; delete "
            "the [[expect]]"
        )
    return ""
