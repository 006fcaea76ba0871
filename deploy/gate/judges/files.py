"""Rules about the files: their integers, their size, and what lint says of them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from edgeq.deploy.gate.judges.context import WRITE_AGAIN, finding
from edgeq.deploy.gate.numbers import changes, is_another_network
from edgeq.linting import SEVERITIES
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgeq.deploy.gate.config import Rule
    from edgeq.deploy.gate.judges.context import Context
    from edgeq.deploy.gate.numbers import Change
    from edgeq.deploy.gate.result import Finding

NAMED = 3  # changes that a message names


def exactness(rule: Rule, context: Context) -> Iterator[Finding]:
    """Judge whether the files hold the baseline's integers, scales and zero points."""
    if rule.settings.get("same") is not True:
        return
    for file in context.files(rule):
        now, then = (
            each.get(file, {}) for each in (context.measured.numbers, context.baseline.numbers)
        )
        if not now or not then:
            which = "this run" if not now else "the baseline"
            yield finding(
                rule,
                "same",
                file,
                "not-run",
                f"{which} holds nothing of its integers",
                next_command="is it a file that edgeq reads? " + WRITE_AGAIN,
            )
            continue
        found = changes(then, now)
        yield finding(
            rule,
            "same",
            file,
            "fail" if found else "pass",
            told(found, then)
            if found
            else f"{counted(len(now), 'part', 'hold')} the baseline's numbers",
            measured=float(len(found)),
            limit=0.0,
        )


def told(found: list[Change], then: Mapping[str, str]) -> str:
    """Changes in words, the first few by name."""
    if is_another_network(found, then):
        return f"another network, or trained again, for all its weights are others; {found[0].told}"
    named = "; ".join(each.told for each in found[:NAMED])
    more = f"; and {counted(len(found) - NAMED, 'other change')}" if len(found) > NAMED else ""
    return f"{named}{more}"


def lint(rule: Rule, context: Context) -> Iterator[Finding]:
    """Judge the findings of lint."""
    fail_on = rule.words("fail_on")
    worst = max((SEVERITIES.index(each) for each in SEVERITIES if each in fail_on), default=-1)
    for file in context.files(rule):
        report = context.measured.lints.get(file)
        if report is None:
            yield finding(
                rule,
                "fail_on",
                file,
                "not-run",
                "it is a checkpoint, which is not linted",
                next_command='leave it out of the rule by stages = ["*.onnx @ *"]',
            )
            continue
        bad = [
            each
            for each in report.findings
            if each.rule in fail_on or SEVERITIES.index(each.severity) <= worst
        ]
        first = "; ".join(f"{each.rule} in {each.node}: {each.message}" for each in bad[:NAMED])
        yield finding(
            rule,
            "fail_on",
            file,
            "fail" if bad else "pass",
            f"{counted(len(bad), 'finding')}" + (f": {first}" if first else ""),
            measured=float(len(bad)),
            limit=0.0,
            next_command=f"edgeq lint {shlex.quote(str(report.file))}" if bad else "",
        )


def saturation(rule: Rule, context: Context) -> Iterator[Finding]:
    """Judge whether sums of products saturate on the processor at hand."""
    if rule.settings.get("none") is not True:
        return
    lost = {each.name: each for each in context.measured.observed.comparison.saturating}
    for stage in context.stages(rule):
        found = lost.get(stage.name)
        if found is None or (found.counted and not found.wrong):
            yield finding(rule, "none", stage.name, "pass", "no sum saturates", limit=0.0)
            continue
        wrong = sum(layer.wrong_sums for layer in found.layers)
        yield finding(
            rule,
            "none",
            stage.name,
            "fail" if found.wrong else "inconclusive",
            found.what,
            measured=float(wrong),
            limit=0.0,
            cause="pairs of products saturate: the processor is an x86 without VNNI",
            next_command=found.hint,
        )
