"""``edgeq gate`` by a file of rules: what it runs, judges, lets pass and reads from git."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support.runtimes import fake_targets

import edgeq
from edgeq.deploy.cli import run
from edgeq.deploy.gate.starting import initial
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REST = """\
artefacts = ["net.onnx"]
data = "fake"
targets = ["ort-cpu-ref", "ort-cpu"]
seconds = 0.15
"""


@pytest.fixture
def judged(
    fakes: dict[str, fake_targets.FakeTarget], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Accepts a file, then judges one that answers so many samples wrong by some rules."""
    monkeypatch.chdir(tmp_path)

    def judge(rules: str, wrong: int = 0, then: int = 0, head: str = "") -> Any:
        fake_targets.artefact(tmp_path, "onnx", wrong=then)
        (tmp_path / "edgeq-gate.toml").write_text(f"{REST}{head}[rules]\n{rules}\n")
        assert edgeq.gate(update=True, accept_worse=True).outcome == "updated"
        fake_targets.artefact(tmp_path, "onnx", wrong=wrong)
        return edgeq.gate()

    return judge


def outcomes(result: Any) -> dict[str, str]:
    return {
        f"{each.rule} {each.stage.rpartition(' ')[2]}": each.outcome for each in result.findings
    }


@pytest.mark.parametrize(
    ("rule", "wrong", "name", "outcome"),
    [
        ("accuracy = { min = 0.9 }", 2, "accuracy.min", "pass"),
        ("accuracy = { min = 0.9 }", 5, "accuracy.min", "inconclusive"),
        ("accuracy = { min = 0.9 }", 20, "accuracy.min", "fail"),
        ("accuracy = { equivalent_within = 20 }", 0, "accuracy.equivalent_within", "pass"),
        ("accuracy = { equivalent_within = 5 }", 1, "accuracy.equivalent_within", "inconclusive"),
        ("accuracy = { equivalent_within = 5 }", 20, "accuracy.equivalent_within", "fail"),
        ("accuracy = { worst_class_max_drop = 60 }", 20, "accuracy.worst_class_max_drop", "pass"),
        ("accuracy = { worst_class_max_drop = 5 }", 36, "accuracy.worst_class_max_drop", "fail"),
        ("accuracy = { worst_slice_max_drop = 5 }", 0, "accuracy.worst_slice_max_drop", "not-run"),
        ("metric = { name = 'accuracy', max_drop = 5 }", 2, "metric.max_drop", "pass"),
        ("metric = { name = 'accuracy', max_drop = 5 }", 3, "metric.max_drop", "inconclusive"),
        ("metric = { name = 'accuracy', max_drop = 5 }", 20, "metric.max_drop", "fail"),
        ("metric = { name = 'accuracy', min = 0.9 }", 20, "metric.min", "fail"),
        ("metric = { task = 'top1', max_drop = 5 }", 3, "metric.max_drop", "inconclusive"),
        ("metric = { task = 'top1', max_drop = 5 }", 20, "metric.max_drop", "fail"),
        (
            "metric = { task = 'top1', equivalent_within = 9 }",
            20,
            "metric.equivalent_within",
            "fail",
        ),
        ("metric = [{ name = 'accuracy', min = 0 }]", 20, "metric.min", "pass"),
        ("metric = { name = 'F1', max_drop = 5 }", 0, "metric.max_drop", "not-run"),
        ("changed = { max_answers = 3 }", 3, "changed.max_answers", "pass"),
        ("changed = { max_answers = 2 }", 3, "changed.max_answers", "fail"),
        ("changed = { max_lost = 2 }", 3, "changed.max_lost", "fail"),
        ("changed = { max_outputs = 0 }", 0, "changed.max_outputs", "pass"),
        ("changed = { max_outputs = 0 }", 1, "changed.max_outputs", "fail"),
        ("agreement = { min = 0.9 }", 9, "agreement.min", "pass"),
        ("size = { max = 3, max_growth = 0 }", 0, "size.max", "pass"),
        ("size = { max = 2 }", 0, "size.max", "fail"),
        ("gap = { max = 0, max_growth = 0 }", 5, "gap.max", "pass"),
        ("drift = { min_sqnr_db = 99 }", 0, "drift.min_sqnr_db", "fail"),
        ("exactness = true", 0, "exactness.same", "not-run"),
        ("placement = true", 0, "placement.same", "not-run"),
        ("integer_share = { min = 0.9 }", 0, "integer_share.min", "not-run"),
        ("saturation = 'none'", 0, "saturation.none", "pass"),
        ("arena = { max = 100 }", 0, "arena.max", "not-run"),
        ("latency = { max_ratio = 1.5 }", 0, "latency.max_ratio", "pass"),
        ("latency = { max_ratio = 1.5 }", 1, "latency.max_ratio", "not-run"),
        ("speed_up = { min = 0.001 }", 0, "speed_up.min", "pass"),
        ("speed_up = { min = 1000 }", 0, "speed_up.min", "fail"),
        ("speed_up = { min = 1, over = 'a @ b' }", 0, "speed_up.min", "not-run"),
    ],
)
def test_each_rule(
    judged: Callable[..., Any], rule: str, wrong: int, name: str, outcome: str
) -> None:
    found = [each for each in judged(rule, wrong).findings if each.rule == name]
    assert {each.outcome for each in found} == {outcome}, [each.message for each in found]
    assert all(each.message for each in found)
    if outcome in ("fail", "not-run"):
        assert all(each.next_command for each in found), found


def test_slices_are_judged_by_the_columns_of_the_data(
    judged: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = fake_targets.source()
    where = np.array(["day", "night"])[np.arange(40) // 20]
    sliced = replace(source, test=replace(source.test, columns={"light": where}))
    monkeypatch.setattr("edgeq.data.load", lambda *_: sliced)
    found = judged("accuracy = { worst_slice_max_drop = 5 }", 18).findings
    assert {each.outcome for each in found} == {"fail"}
    assert "the worst slice, light day, lost 90.00 points on 20 samples" in found[0].message
    assert len(found[0].samples) == 18


def test_a_new_float_network_is_not_blamed_on_quantisation(
    judged: Callable[..., Any],
) -> None:
    head = 'float = "net.onnx @ ort-cpu-ref"\n'
    result = judged("accuracy = { max_drop = 1 }\ngap = { max_growth = 1 }", 20, head=head)
    assert outcomes(result) == {
        "accuracy.max_drop ort-cpu-ref": "fail",
        "accuracy.max_drop ort-cpu": "fail",
        "gap.max_growth ort-cpu": "pass",
    }
    assert "its quantisation is not to blame" in result.findings[1].cause


def test_a_quantised_file_is_no_float_stage_that_others_could_be_excused_by(
    judged: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = "accuracy = { max_drop = 1 }"
    assert "is not to blame" in judged(rules, 20).findings[1].cause
    monkeypatch.setattr("edgeq.deploy.gate.causes._Search._is_quantised", lambda *_: True)
    assert "is not to blame" not in judged(rules, 20).findings[1].cause


def test_a_rule_that_covers_no_stage_is_no_pass(judged: Callable[..., Any]) -> None:
    result = judged("accuracy = { max_drop = 1, stages = ['*.tflite @ *'] }")
    assert result.outcome == "inconclusive"
    assert "has nothing to judge among the stages *.tflite @ *" in result.findings[0].message


@pytest.mark.parametrize(("until", "outcome"), [("2999-01-01", "passed"), ("2020-01-01", "failed")])
def test_an_expected_failure_passes_until_its_last_day(
    judged: Callable[..., Any], until: str, outcome: str
) -> None:
    head = (
        f'[[expect]]\nrule = "changed"\nstage = "* @ ort-*"\nreason = "issue 12"\nuntil = {until}\n'
        f'[[expect]]\nrule = "size.max"\nreason = "b"\nuntil = {until}\n'
    )
    result = judged("changed = { max_answers = 0 }\nsize = { max = 100 }", 1, head=head)
    assert result.outcome == outcome
    assert "issue 12" in result.findings[0].message
    assert any("size.max on * is expected to fail and does not" in each for each in result.remarks)


def test_too_few_samples_for_a_drop_are_told_before_anything_runs(
    judged: Callable[..., Any], fakes: dict[str, fake_targets.FakeTarget], tmp_path: Path
) -> None:
    judged("accuracy = { max_drop = 0.5 }")
    path = tmp_path / "edgeq-gate.toml"
    asked = "[statistics]\nmin_detectable_drop = 2\n[rules]"
    path.write_text(path.read_text().replace("[rules]", asked))
    opened = sum(len(target.sessions) for target in fakes.values())
    result = edgeq.gate()
    assert sum(len(target.sessions) for target in fakes.values()) == opened
    (told,) = result.findings
    assert result.outcome == "inconclusive"
    assert told.measured is not None
    assert told.measured > 2
    assert told.samples_needed is not None
    assert told.samples_needed > 500


def test_the_least_drop_is_told_on_request(
    judged: Callable[..., Any], answer: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    judged("accuracy = { max_drop = 0 }")
    found = answer("gate", "--min-detectable-drop")
    assert found["samples"] == 40
    assert 10 < found["min_detectable_drop_points"] < 30
    assert run(["gate", "--min-detectable-drop"]) == 0
    shown = capsys.readouterr().out
    assert "40 samples show a drop of " in shown
    assert shown.splitlines()[-1] == "next: edgeq gate"


def test_init_writes_what_a_gate_then_passes(
    fakes: dict[str, fake_targets.FakeTarget],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[..., Any],
    refusal: Callable[..., str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no ONNX or TFLite file" in refusal("gate", "init", "--data", "fake")
    fake_targets.artefact(tmp_path / "out", "onnx")
    assert "no data are named" in refusal("gate", "init")
    told = answer("gate", "init", "--data", "fake", "-t", "ort-cpu,ort-cpu-ref")
    assert told["stages"] == ["net.onnx @ ort-cpu-ref", "net.onnx @ ort-cpu"]
    assert told["rules"] == ["accuracy", "exactness", "size", "lint"]
    assert "max_drop = 0.5 }  # points" in (tmp_path / "edgeq-gate.toml").read_text()
    paths = [tmp_path / "out" / "net.onnx"]
    assert "2 per cent of the value of any other" in (tmp_path / "edgeq-gate.toml").read_text()
    of_values = initial(paths, "fake", ["ort-cpu"], tmp_path, judged_by=lambda: "mae")
    assert "max_drop = 0.5 }  # by how many per cent of itself the MAE may grow" in of_values
    assert "exists" in refusal("gate", "init", "--data", "fake")
    text = (tmp_path / "edgeq-gate.toml").read_text()
    plain = [line for line in text.splitlines() if not line.startswith(("lint", "exactness"))]
    (tmp_path / "edgeq-gate.toml").write_text("\n".join(plain))  # a fake file is no ONNX
    assert answer("gate", "--update")["outcome"] == "updated"
    assert answer("gate")["outcome"] == "passed"


@pytest.mark.parametrize("words", [[], ["--update"]], ids=["judging", "accepting"])
def test_an_interrupted_gate_writes_nothing(
    judged: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    assert judged("accuracy = { max_drop = 0 }", 9).outcome == "failed"
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def stop(*_given: Any, **_named: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(fake_targets.FakeSession, "run_all", stop)
    monkeypatch.setattr(fake_targets.FakeSession, "run", stop)
    assert run(["gate", *words]) == 130
    assert "edgeq: interrupted" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_command_makes_the_files(
    judged: Callable[..., Any], tmp_path: Path, refusal: Callable[..., str]
) -> None:
    (tmp_path / "made").write_bytes(fake_targets.artefact(tmp_path, "onnx").read_bytes())
    assert judged("accuracy = { max_drop = 0 }", 9, head='command = "cp made net.onnx"\n').passed
    (tmp_path / "made").unlink()
    assert "the command 'cp made net.onnx' ended with 1: cp: " in refusal("gate")


def test_files_of_one_name_in_two_folders(
    fakes: dict[str, fake_targets.FakeTarget], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = [fake_targets.artefact(tmp_path / name, "onnx") for name in ("a", "b")]
    base = tmp_path / "base.json"
    given: Any = {"data": fake_targets.source(), "baseline": base, "targets": ["ort-cpu"]}
    edgeq.gate(files, update=True, **given)
    fake_targets.artefact(tmp_path / "b", "onnx", wrong=20)
    found = edgeq.gate(files, **given).findings
    assert [(each.stage, each.outcome) for each in found] == [
        ("a/net.onnx @ ort-cpu", "pass"),
        ("b/net.onnx @ ort-cpu", "fail"),
    ]


def test_a_baseline_is_read_from_git(
    judged: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    judged("changed = { max_answers = 0 }\nlatency = { max_ratio = 1e6 }")

    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    with pytest.raises(UsageError, match="git cannot read 'main'"):
        edgeq.gate(against="main")
    git("add", ".")
    git("commit", "-qm", "base")
    git("checkout", "-qb", "change")
    fake_targets.artefact(tmp_path, "onnx", wrong=3)
    path = tmp_path / "edgeq-gate.toml"
    path.write_text(path.read_text().replace("max_answers = 0", "max_answers = 2"))
    edgeq.gate(update=True, accept_worse=True)
    git("commit", "-qam", "worse, with another baseline and other rules")
    assert outcomes(edgeq.gate())["changed.max_answers ort-cpu"] == "pass"
    result = edgeq.gate(against="main")
    assert result.outcome == "failed"
    assert "the rule changed.max_answers was 0, and is 2" in result.remarks
    timed = [each for each in result.findings if each.metric == "latency"]
    assert [each.outcome for each in timed] == ["pass", "pass"]
    assert all(each.interval is not None for each in timed)
    assert "edgeq-baseline.json at main (" in result.baseline
    assert result.deltas
    with pytest.raises(UsageError, match="'--all' is no revision"):
        edgeq.gate(against="--all")


def test_flags_that_do_not_belong_together_are_refused(
    judged: Callable[..., Any], refusal: Callable[..., str]
) -> None:
    judged("accuracy = { max_drop = 0 }")
    assert "--data is for files named here" in refusal("gate", "--data", "fake")
    assert "no --baseline" in refusal("gate", "net.onnx", "--data", "fake")
    assert "without it" in refusal("gate", "--stage", "*")
    assert "no stage 'x' was run" in refusal("gate", "--update", "--stage", "x")


def test_samples_without_labels_are_judged_by_what_needs_none(
    judged: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = fake_targets.source()
    unlabelled = replace(source, test=replace(source.test, labels=None))
    monkeypatch.setattr("edgeq.data.load", lambda *_: unlabelled)
    rules = "agreement = { min = 0.9 }\nchanged = { max_outputs = 2 }"
    assert judged(rules, 2).outcome == "passed"
    assert outcomes(judged(rules, 9))["changed.max_outputs ort-cpu"] == "fail"
    with pytest.raises(UsageError, match="has no accuracy to judge: it saw no labels"):
        judged("accuracy = { max_drop = 1 }", 0)
