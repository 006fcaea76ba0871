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
    driver = {
        "name": "edgeq lint",
        "version": edgeq.__version__,
        "rules": [_rule(name) for name in names],
    }
    results = [
        _result(report, finding, names.index(finding.rule))
        for report in reports
        for finding in report.findings
    ]
    artifacts = [{"location": {"uri": _uri(report.file)}} for report in reports]
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "artifacts": artifacts, "results": results}],
    }


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
    place: dict[str, object] = {
        # a model has no lines, and services refuse a place without one
        "physicalLocation": {
            "artifactLocation": {"uri": _uri(report.file)},
            "region": {"startLine": 1},
        }
    }
    if finding.node:
        place["logicalLocations"] = [{"fullyQualifiedName": finding.node, "kind": "member"}]
    where = f"{finding.node}: " if finding.node else ""
    key = f"{finding.rule}\n{finding.node}\n{finding.channels}"
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": finding.severity,
        "message": {"text": f"{where}{finding.message}. {finding.hint}"},
        "locations": [place],
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
