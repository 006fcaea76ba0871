"""``edgeq lint``: tables, JSON, SARIF, and when it fails."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from tests.support.models.lint_models import as_tflite, network, with_constants

from edgeq.deploy.cli import run
from edgeq.deploy.lint.run import LintReport, lint
from edgeq.errors import EdgeqError, UsageError
from edgeq.linting import RULES, Finding

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeq.linting import Severity


@pytest.fixture
def sick(tmp_path: Path) -> Path:
    """A file with a dead channel, a warning, and what the file does not say, a note."""

    def fault(constants: dict[str, np.ndarray]) -> None:
        constants["c.weight_quantized"][3] = 0

    path = tmp_path / "sick.onnx"
    onnx.save(with_constants(network(), fault), path)
    return path


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "sound.tflite"
    path.write_bytes(as_tflite(network()))
    return path


def test_findings_are_shown_with_rule_place_and_hint(
    sick: Path, sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["lint", str(sick), str(sound)]) == 0
    out = capsys.readouterr().out
    assert f"{sick}: 1 warning, 1 note in 2 layers" in out
    assert f"{sound}: 1 note in 2 layers" in out
    assert "channel 3 of 40: all weights are zero" in out
    assert "\ndead-channel: remove the channel" in out


def test_many_notes_of_a_rule_have_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def found(rule: str, severity: Severity, count: int) -> list[Finding]:
        return [
            Finding(rule, severity, f"{rule}{i}", (), None, "", f"message {i}", "do it")
            for i in range(count)
        ]

    findings = (*found("worse", "warning", 5), *found("few", "note", 3), *found("many", "note", 12))
    report = LintReport("net.onnx", "onnx", 12, findings)
    monkeypatch.setattr("edgeq.deploy.lint.run.lint", lambda *_, **__: report)
    assert run(["lint", "net.onnx"]) == 0
    out = capsys.readouterr().out
    assert "many0, many1, many2 and 9 more" in out
    assert "in 12 places, first: message 0; --verbose shows each" in out
    assert all(f"{rule}{i} " in out for rule, n in (("worse", 5), ("few", 3)) for i in range(n))
    assert "many3" not in out
    assert run(["lint", "net.onnx", "--verbose"]) == 0
    out = capsys.readouterr().out
    assert all(f"many{i} " in out for i in range(12))
    assert run(["lint", "net.onnx", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["files"][0]["findings"]) == 20


def test_json_holds_every_finding(sick: Path, answer: Callable[..., Any]) -> None:
    (report,) = answer("lint", sick)["files"]
    assert (report["file"], report["format"], report["layers"]) == (str(sick), "onnx", 2)
    finding = report["findings"][0]
    assert (finding["rule"], finding["severity"]) == ("dead-channel", "warning")
    assert (finding["node"], finding["channels"], finding["number"]) == ("c_sum/Conv", [3], 1)
    assert finding["hint"]


@pytest.mark.parametrize(
    ("fail_on", "code"),
    [("error", 0), ("warning", 1), ("note", 1), ("dead-channel", 1), ("bias-limit,error", 0)],
)
def test_it_fails_on_what_is_asked(
    sick: Path, fail_on: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["lint", str(sick), "--fail-on", fail_on]) == code
    captured = capsys.readouterr()
    assert "dead-channel" in captured.out
    assert ("finding" in captured.err) == bool(code)


def test_it_fails_for_any_of_several_files(sick: Path, sound: Path) -> None:
    assert run(["lint", str(sound), "--fail-on", "warning"]) == 0
    assert run(["lint", str(sound), str(sick), "--fail-on", "warning"]) == 1


def test_unknown_names_are_refused(sick: Path, refusal: Callable[..., str]) -> None:
    assert "did you mean 'dead-channel'" in refusal("lint", sick, "--fail-on", "dead-chanel")
    assert "no device is called 'stm32'" in refusal("lint", sick, "--device", "stm32")


def test_checkpoints_and_broken_files_are_refused(
    tmp_path: Path, refusal: Callable[..., str]
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08nothing")
    assert "no ONNX model" in refusal("lint", broken)
    assert "there is no artefact" in refusal("lint", tmp_path / "absent.onnx")
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(as_tflite(network())[:300])
    assert "truncated" in refusal("lint", cut)


@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
def test_no_damaged_file_is_more_than_refused(suffix: str, tmp_path: Path) -> None:
    rng = random.Random(0)  # noqa: S311  # which bytes are damaged is no secret
    model = network()
    content = model.SerializeToString() if suffix == "onnx" else as_tflite(model)
    path = tmp_path / f"damaged.{suffix}"
    refused = 0
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(rng.choice((1, 2, 8))):
            damaged[rng.randrange(16, len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged[: rng.choice((len(damaged), rng.randrange(16, len(damaged))))])
        try:
            lint(path)
        except EdgeqError:
            refused += 1
    assert 0 < refused < 60


def test_a_device_brings_its_advice(sick: Path, answer: Callable[..., Any]) -> None:
    (report,) = answer("lint", sick, "--device", "stm32mp25")["files"]
    advice = next(each for each in report["findings"] if each["rule"] == "per-channel-slow")
    assert advice["number"] == 6.4
    assert "https://" in advice["message"]


def test_rules_lists_every_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lint", "--rules"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in RULES.names())


def test_sarif_is_what_its_schema_asks_for(sick: Path, tmp_path: Path) -> None:
    path = tmp_path / "lint.sarif"
    assert run(["lint", str(sick), "--sarif", str(path), "--fail-on", "warning"]) == 1
    log = json.loads(path.read_text())
    assert set(log) == {"$schema", "version", "runs"}
    assert log["version"] == "2.1.0"
    (made,) = log["runs"]
    driver = made["tool"]["driver"]
    assert driver["name"] == "edgeq lint"
    assert [rule["id"] for rule in driver["rules"]] == RULES.names()
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"]
        assert rule["fullDescription"]["text"]
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note")
    assert len(made["results"]) == 2
    for result in made["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        assert result["message"]["text"]
        (place,) = result["locations"]
        assert place["physicalLocation"]["artifactLocation"]["uri"] == sick.as_uri()
        assert place["physicalLocation"]["region"] == {"startLine": 1}
        assert all(isinstance(text, str) for text in result["partialFingerprints"].values())
    assert made["results"][0]["locations"][0]["logicalLocations"] == [
        {"fullyQualifiedName": "c_sum/Conv", "kind": "member"}
    ]


def test_sarif_is_not_written_over_another_file(
    sick: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    path = tmp_path / "lint.sarif"
    path.write_text("mine")
    assert "exists" in refusal("lint", sick, "--sarif", path)
    assert path.read_text() == "mine"
    assert run(["lint", str(sick), "--sarif", str(path), "--overwrite"]) == 0
    assert json.loads(path.read_text())["version"] == "2.1.0"


def float_file(path: Path, weight: float = 1.0) -> Path:
    """One layer in float."""
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="conv")],
        "net",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 1, 4, 4])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 1, 4, 4])],
        [onnx.numpy_helper.from_array(np.full((1, 1, 1, 1), weight, np.float32), "w")],
    )
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, ir_version=9, opset_imports=[opset]), path)
    return path


def test_a_float_file_says_that_it_is_one(tmp_path: Path, answer: Callable[..., Any]) -> None:
    found = lint(float_file(tmp_path / "net.onnx")).findings
    following = answer("lint", tmp_path / "net.onnx")["next"]
    assert following.startswith(f"edgeq calibrate {tmp_path / 'net.onnx'} --data NAME -o ")
    (told,) = [each for each in found if each.rule == "float-in-fact"]
    assert told.severity == "note"
    assert "the file is in float, with the layers conv" in told.message
    assert "edgeq calibrate takes" in told.hint


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(tmp_path: Path, weight: float) -> None:
    found = lint(float_file(tmp_path / "net.onnx", weight)).findings
    (told,) = [each for each in found if each.severity == "error"]
    assert (told.node, told.message) == ("conv", "its constant 'w' holds NaN or infinity")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    float_file(tmp_path / "net.onnx")
    with pytest.raises(UsageError, match="is a folder") as caught:
        lint(tmp_path)
    assert "net.onnx" in caught.value.hint


def test_export_says_that_a_network_is_in_float(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = float_file(tmp_path / "net.onnx")
    run(["export", str(net), "--to", "onnx", "-o", str(tmp_path / "out")])
    assert "net.onnx is a float network: nothing in it is quantised" in capsys.readouterr().err
