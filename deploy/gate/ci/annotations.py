"""One annotation for each finding that keeps a gate from passing.

GitHub reads them as lines of a log, GitLab as a file in the form of Code Climate's.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from edgeq.deploy.gate.ci.told import paragraphs, place, title

if TYPE_CHECKING:
    from edgeq.deploy.gate.result import Finding, GateResult

_GITHUB = {"fail": "error", "not-run": "error", "inconclusive": "warning"}
_GITLAB = {"fail": "critical", "not-run": "major", "inconclusive": "minor"}


def github(result: GateResult) -> list[str]:
    """Workflow commands, failures first, since a step shows no more than ten of a kind."""
    return [_command(result, each) for each in result.complaints]


def _command(result: GateResult, finding: Finding) -> str:
    file, number = place(result, finding)
    properties = {"file": file, "line": str(number), "title": title(finding)}
    told = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{_GITHUB[finding.outcome]} {told}::{_data(' | '.join(paragraphs(finding)))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def gitlab(result: GateResult) -> list[dict[str, object]]:
    """A code quality report."""
    return [_issue(result, each) for each in result.complaints]


def fingerprint(finding: Finding) -> str:
    """What tells a finding apart from one run to the next: its rule, stage and metric."""
    key = f"{finding.rule}\n{finding.stage}\n{finding.metric}"
    return hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()


def _issue(result: GateResult, finding: Finding) -> dict[str, object]:
    file, number = place(result, finding)
    return {
        "type": "issue",
        "check_name": f"edgeq/{finding.rule}",
        "description": f"{title(finding)}: {' '.join(paragraphs(finding))}",
        "categories": ["Bug Risk"],
        "severity": _GITLAB[finding.outcome],
        "fingerprint": fingerprint(finding),
        "location": {"path": file, "lines": {"begin": number}},
    }
