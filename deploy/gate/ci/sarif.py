"""A gate as SARIF 2.1.0, which code scanning reads: a result for each finding that does not pass.

A failure that is expected is there too, as suppressed, with its reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.gate.ci.annotations import fingerprint
from edgeq.deploy.gate.ci.told import line, place, sentences
from edgeq.deploy.lint.sarif import location, log
from edgeq.plain import to_plain

if TYPE_CHECKING:
    from edgeq.deploy.gate.result import Finding, GateResult

_LEVELS = {
    "fail": "error",
    "not-run": "error",
    "inconclusive": "warning",
    "expected-failure": "note",
}


def sarif(result: GateResult) -> dict[str, object]:
    """The log, of one run."""
    told = [each for each in result.findings if each.outcome in _LEVELS]
    rules = list(dict.fromkeys(each.rule for each in result.findings))
    return log(
        "edgeq gate",
        [_rule(name) for name in rules],
        list(dict.fromkeys(place(result, each)[0] for each in told)),
        [_result(result, each, rules.index(each.rule)) for each in told],
    )


def _rule(name: str) -> dict[str, object]:
    return {
        "id": line(name),
        "shortDescription": {"text": f"The rule {line(name)} of edgeq-gate.toml"},
    }


def _result(result: GateResult, finding: Finding, index: int) -> dict[str, object]:
    file, number = place(result, finding)
    content: dict[str, object] = {
        "ruleId": line(finding.rule),
        "ruleIndex": index,
        "level": _LEVELS[finding.outcome],
        "message": {"text": sentences(finding) or line(finding.rule)},
        "locations": [location(file, line(finding.stage), start=number)],
        "partialFingerprints": {"edgeqGate/v1": fingerprint(finding)},
        "properties": to_plain(
            {
                "outcome": finding.outcome,
                "metric": line(finding.metric),
                "measured": finding.measured,
                "limit": finding.limit,
                "baseline": finding.baseline,
                "unit": finding.unit,
            }
        ),
    }
    if finding.outcome == "expected-failure":
        suppressed = {"kind": "external", "justification": line(finding.reason)}
        content["suppressions"] = [suppressed]
    return content
