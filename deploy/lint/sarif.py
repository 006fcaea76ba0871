"""Findings in SARIF 2.1.0, which code scanning services read (OASIS, 2020)."""

from __future__ import annotations

import hashlib
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import edgeq
from edgeq.linting import RULES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.deploy.lint.run import LintReport
    from edgeq.linting import Finding

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)


def sarif(reports: Sequence[LintReport]) -> dict[str, object]:
    """One SARIF log of one run, with every rule described and every finding as a result."""
    names = RULES.names()
    results = [
        _result(report, finding, names.index(finding.rule))
        for report in reports
        for finding in report.findings
    ]
    files = [report.file for report in reports]
    return log("edgeq lint", [_rule(name) for name in names], files, results)


def log(
    tool: str,
    rules: Sequence[dict[str, object]],
    files: Sequence[str],
    results: Sequence[dict[str, object]],
) -> dict[str, object]:
    """A log of one run.

    Args:
        tool: the name of what found something.
        rules: that it knows.
        files: that it looked at.
        results: what it found.
    """
    driver = {"name": tool, "version": edgeq.__version__, "rules": list(rules)}
    artifacts = [{"location": {"uri": _uri(file)}} for file in files]
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "artifacts": artifacts, "results": list(results)}],
    }


def location(file: str, member: str, *, start: int = 1) -> dict[str, object]:
    """A line of a file; a model has none, and services refuse a place without one.

    Args:
        file: its path.
        member: what it is about inside, such as a node; empty for the whole file.
        start: the line, from 1.
    """
    place: dict[str, object] = {
        "physicalLocation": {
            "artifactLocation": {"uri": _uri(file)},
            "region": {"startLine": start},
        }
    }
    if member:
        place["logicalLocations"] = [{"fullyQualifiedName": member, "kind": "member"}]
    return place


def _rule(name: str) -> dict[str, object]:
    rule = RULES.load(name)
    text = " ".join((getdoc(rule) or rule.summary).split())
    return {
        "id": name,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": text},
        "defaultConfiguration": {"level": rule.severity},
    }


def _result(report: LintReport, finding: Finding, index: int) -> dict[str, object]:
    where = f"{finding.node}: " if finding.node else ""
    key = f"{finding.rule}\n{finding.node}\n{finding.channels}"
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": finding.severity,
        "message": {"text": f"{where}{finding.message}. {finding.hint}"},
        "locations": [location(report.file, finding.node)],
        "partialFingerprints": {"edgeqFinding/v1": hashlib.sha256(key.encode()).hexdigest()},
        "properties": {
            "channels": list(finding.channels),
            "number": finding.number,
            "unit": finding.unit,
        },
    }


def _uri(file: str) -> str:
    """A relative path as it is, an absolute one as a file URI."""
    path = Path(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())
