"""A gate as JUnit XML, in the form of Ant's schema, which CI services read.

A rule on a stage is a test case. What failed is a failure; what was not run or cannot be decided is
an error, since it does not pass either; a failure that is expected is skipped.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import edgeq
from edgeq.deploy.gate.ci.told import line, message, paragraphs, plain

if TYPE_CHECKING:
    from edgeq.deploy.gate.result import Finding, GateResult

_KINDS = {
    "fail": "failure",
    "not-run": "error",
    "inconclusive": "error",
    "expected-failure": "skipped",
}


def junit(result: GateResult) -> bytes:
    """The document."""
    root = Element("testsuites")
    findings = result.findings
    kinds = [_KINDS.get(each.outcome, "") for each in findings]
    suite = SubElement(
        root,
        "testsuite",
        {
            "name": "edgeq gate",
            "package": "edgeq",
            "id": "0",
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            "hostname": "localhost",
            "tests": str(len(findings)),
            "failures": str(kinds.count("failure")),
            "errors": str(kinds.count("error")),
            "skipped": str(kinds.count("skipped")),
            "time": "0",
        },
    )
    properties = SubElement(suite, "properties")
    for name, value in _properties(result):
        SubElement(properties, "property", {"name": line(name) or "?", "value": plain(value)})
    for each, kind in zip(findings, kinds, strict=True):
        _case(suite, each, kind)
    SubElement(suite, "system-out").text = plain("\n".join([result.summary, *result.remarks]))
    SubElement(suite, "system-err")
    indent(root)
    document: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _properties(result: GateResult) -> list[tuple[str, str]]:
    cpu = result.machine.cpu if result.machine is not None else ""
    return [
        ("outcome", result.outcome),
        ("edgeq", edgeq.__version__),
        ("baseline", result.baseline),
        ("config", result.config),
        ("cpu", cpu),
        *result.versions.items(),
    ]


def _case(suite: Element, finding: Finding, kind: str) -> None:
    names = {
        "name": line(f"{finding.rule}: {finding.metric}"),
        "classname": line(finding.stage) or "run",
        "time": "0",
    }
    case = SubElement(suite, "testcase", names)
    if kind == "skipped":
        SubElement(case, kind, {"message": line(finding.reason) or message(finding)})
    elif kind:
        told = {"message": message(finding), "type": finding.outcome}
        SubElement(case, kind, told).text = "\n".join(paragraphs(finding))
