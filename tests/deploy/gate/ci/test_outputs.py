"""A gate is written where it was asked for, and where GitHub reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from edgeq.deploy import console
from edgeq.deploy.gate.ci.outputs import CiOutputs, contents, step_outputs
from edgeq.deploy.gate.result import Delta, Finding, GateResult
from edgeq.errors import OutputError, UnknownName

if TYPE_CHECKING:
    from pathlib import Path

FAILED = GateResult(
    "failed",
    (Finding("size", "a.onnx", "bytes", "fail", "a.onnx has grown", 2.0, 1.0),),
    deltas=(Delta("a.onnx", "bytes", 1.0, float("nan")),),
)


def test_every_file_that_is_named_is_written(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("junit", "sarif", "markdown", "code_quality")}
    outputs = CiOutputs(files["junit"], files["sarif"], files["markdown"], files["code_quality"])
    outputs.check()
    outputs.write(FAILED)
    outputs.check()  # an earlier one is replaced
    outputs.write(FAILED)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(written) == set(files)
    assert written["sarif"] == contents(FAILED)["sarif"]


def test_a_run_folder_holds_them_all(tmp_path: Path) -> None:
    with console.answering() as answer:
        CiOutputs().write(FAILED)
    names = {"junit.xml", "gate.sarif", "summary.md", "code-quality.json"}
    assert set(answer.files) == names


def test_what_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        CiOutputs(junit=tmp_path).check()
    with pytest.raises(OutputError, match="two outputs"):
        CiOutputs(junit=tmp_path / "x", sarif=tmp_path / "x").check()
    with pytest.raises(UnknownName, match="gitlob"):
        CiOutputs(annotations="gitlob").check()


def test_github_gets_lines_a_summary_and_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summary, outputs = tmp_path / "summary", tmp_path / "outputs"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_OUTPUT", str(outputs))
    CiOutputs(markdown=tmp_path / "summary.md").write(FAILED)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("::error file=a.onnx,line=1,title=size of a.onnx::")
    assert summary.read_text().startswith("before\n<!-- edgeq-gate -->")
    values = read_outputs(outputs.read_text())
    assert values["passed"] == "false"
    assert values["outcome"] == "failed"
    assert values["report-path"] == str(tmp_path / "summary.md")
    assert json.loads(values["regressed-metrics"]) == ["bytes"]
    assert json.loads(values["deltas"]) == [
        {"stage": "a.onnx", "metric": "bytes", "before": 1.0, "now": None}
    ]


def read_outputs(text: str) -> dict[str, str]:
    """As the runner reads them."""
    values, lines = {}, iter(text.splitlines())
    for line in lines:
        name, _, end = line.partition("<<")
        content: list[str] = []
        while (told := next(lines)) != end:
            content.append(told)
        values[name] = "\n".join(content)
    return values


def test_no_name_can_set_an_output() -> None:
    name = "x\nEOF\npassed<<EOF\ntrue\nEOF"
    hostile = GateResult("failed", (Finding("size", name, name, "fail", name),))
    values = read_outputs(step_outputs(hostile, None))
    assert list(values) == ["passed", "outcome", "report-path", "deltas", "regressed-metrics"]
    assert values["passed"] == "false"


def test_annotations_can_be_asked_for_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    CiOutputs(annotations="github").write(FAILED)
    assert "::error" in capsys.readouterr().err
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    CiOutputs(annotations="none").write(FAILED)
    assert capsys.readouterr().err == ""
