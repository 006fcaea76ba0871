"""The gate: what passes, what fails, what cannot be decided, and broken baselines."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support.runtimes import fake_targets

from edgeq.deploy.cli import run
from edgeq.deploy.evaluation.outputs.evaluation_data import EvaluationData
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def gate(fakes: dict[str, fake_targets.FakeTarget], tmp_path: Path) -> Callable[..., list[object]]:
    """The arguments of a gate over a checkpoint and an ONNX file with some wrong answers."""

    def arguments(wrong: int, *more: object) -> list[object]:
        files = [
            fake_targets.artefact(tmp_path, "checkpoint"),
            fake_targets.artefact(tmp_path, "onnx", wrong=wrong),
        ]
        return ["gate", *files, "--data", "fake", "--baseline", tmp_path / "base.json", *more]

    return arguments


@pytest.fixture
def accepted(gate: Callable[..., list[object]], answer: Callable[..., Any], tmp_path: Path) -> Path:
    """A baseline in which the ONNX file answers 2 of 40 wrong."""
    assert answer(*gate(2, "--update"))["outcome"] == "updated"
    return tmp_path / "base.json"


@pytest.fixture
def unsure(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a gate that cannot tell, and gives back what it says: in full on standard output."""

    def ask(*arguments: object) -> str:
        assert run([*map(str, arguments)]) == 3
        captured = capsys.readouterr()
        assert "inconclusive: " in captured.err
        return captured.out

    return ask


@pytest.mark.usefixtures("accepted")
def test_the_same_again_passes(
    gate: Callable[..., list[object]], answer: Callable[..., Any]
) -> None:
    found = answer(*gate(2))
    assert found["outcome"] == "passed"
    assert {each["outcome"] for each in found["findings"]} == {"pass"}
    assert [each["measured"] for each in found["findings"]] == [100, 100, 95, 95]
    assert found["deltas"] == []


@pytest.mark.usefixtures("accepted")
def test_a_drop_fails_with_all_that_is_needed_to_understand_it(
    gate: Callable[..., list[object]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*map(str, gate(12, "--max-drop", 2.5))]) == 1
    captured = capsys.readouterr()
    assert (
        "net.onnx @ ort-cpu: lost 25.00 points of accuracy, 95.00 % in the baseline, 70.00 % now "
        "(10 samples lost, 0 gained, p = 0.002); 2.5 points may be lost" in captured.out
    )
    assert "cause: the file has other bytes" in captured.out
    assert "next: edgeq why " in captured.out
    assert "fail" in captured.out
    assert "pass" in captured.out


@pytest.mark.usefixtures("accepted")
def test_a_drop_that_may_be_luck_is_inconclusive_and_says_how_many_samples_would_tell(
    gate: Callable[..., list[object]], answer: Callable[..., Any]
) -> None:
    found = answer(*gate(4, "--max-drop", 0), code=3)
    last = found["findings"][-1]
    assert last["outcome"] == "inconclusive"
    assert last["samples"] == [102, 103]
    assert 100 < last["samples_needed"] < 400
    assert "40 samples are too few to tell, about" in last["message"]


@pytest.mark.usefixtures("accepted")
def test_a_drop_of_exactly_what_is_allowed_passes(
    gate: Callable[..., list[object]], answer: Callable[..., Any]
) -> None:
    assert answer(*gate(4, "--max-drop", 5))["outcome"] == "passed"
    assert answer(*gate(4, "--max-drop", 4.99), code=3)["outcome"] == "inconclusive"


@pytest.mark.usefixtures("accepted")
def test_an_improvement_passes_and_is_pointed_out(
    gate: Callable[..., list[object]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*map(str, gate(0))]) == 0
    assert "--update" in capsys.readouterr().err


def test_an_update_shows_what_it_changes_and_accepts_no_loss_in_silence(
    accepted: Path, gate: Callable[..., list[object]], capsys: pytest.CaptureFixture[str]
) -> None:
    before = accepted.read_bytes()
    assert run([*map(str, gate(9, "--update"))]) == 3
    assert "is worse by 17.50 points than the baseline's 95.00 %" in capsys.readouterr().err
    assert accepted.read_bytes() == before
    assert run([*map(str, gate(9, "--update", "--accept-worse"))]) == 0
    told = capsys.readouterr().out
    assert re.search(r"net.onnx @ ort-cpu +accuracy +95.00 % +77.50 %", told)
    assert run([*map(str, gate(9))]) == 0
    assert [path.name for path in accepted.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.usefixtures("accepted")
def test_an_update_touches_only_what_is_named(
    gate: Callable[..., list[object]], answer: Callable[..., Any]
) -> None:
    one = ("--update", "--stage", "net.onnx @ ort-cpu")
    changed = answer(*gate(0, *one))["deltas"]
    assert [(each["stage"], each["metric"]) for each in changed] == [
        ("net.onnx @ ort-cpu", "accuracy"),
        ("net.onnx @ ort-cpu", "agreement"),
        ("net.onnx @ ort-cpu", "sqnr_db"),
    ]
    found = answer(*gate(0, "--max-drop", 0))["findings"]
    assert [each["baseline"] for each in found] == [100, 100, 95, 100]


@pytest.mark.usefixtures("accepted")
def test_a_stage_leaves_the_baseline_only_by_its_name(
    gate: Callable[..., list[object]], answer: Callable[..., Any], refusal: Callable[..., str]
) -> None:
    some = ("--target", "torch-fp32,torch,ort-cpu", "--update")
    assert "--forget 'net.onnx @ ort-cpu-ref'" in refusal(*gate(2, *some), code=3)
    assert "no stage '*.tflite @ *' is in the baseline" in refusal(
        *gate(2, *some, "--forget", "*.tflite @ *")
    )
    changed = answer(*gate(2, *some, "--forget", "net.onnx @ ort-cpu-ref"))["deltas"]
    assert {(each["stage"], each["now"]) for each in changed} == {("net.onnx @ ort-cpu-ref", None)}
    assert answer(*gate(2), code=3)["findings"][0]["message"].endswith("is not in the baseline")


def test_without_a_baseline_it_says_how_to_make_one(
    gate: Callable[..., list[object]], refusal: Callable[..., str]
) -> None:
    assert "--update" in refusal(*gate(0))


@pytest.mark.usefixtures("accepted")
@pytest.mark.parametrize("more", [("--limit", 20), ("--split", "validation")])
def test_other_samples_are_inconclusive(
    gate: Callable[..., list[object]], answer: Callable[..., Any], more: tuple[object, ...]
) -> None:
    found = answer(*gate(2, *more), code=3)
    assert found["outcome"] == "inconclusive"
    assert [each["rule"] for each in found["findings"]] == ["data"]


@pytest.mark.parametrize("more", [("--limit", 20), ("--split", "validation")])
def test_an_update_with_other_samples_cannot_hide_what_became_worse(
    accepted: Path,
    gate: Callable[..., list[object]],
    answer: Callable[..., Any],
    refusal: Callable[..., str],
    more: tuple[object, ...],
) -> None:
    before = accepted.read_bytes()
    told = refusal(*gate(9, "--update", *more), code=3)
    assert "whether 4 stages are worse cannot be told, for the baseline is about fake test" in told
    assert "net.onnx changed since" in told
    assert "add --accept-worse" in told
    assert accepted.read_bytes() == before
    assert "no file changed since" in refusal(*gate(2, "--update", *more), code=3)
    accepted_now = answer(*gate(9, "--update", "--accept-worse", *more))
    assert accepted_now["outcome"] == "updated"
    assert any("other samples or feeding: before" in each for each in accepted_now["remarks"])


@pytest.mark.usefixtures("accepted")
def test_other_ids_are_inconclusive(
    gate: Callable[..., list[object]],
    unsure: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = fake_targets.source()
    monkeypatch.setattr("edgeq.data.load", lambda *_: source)
    np.copyto(source.test.ids, source.test.ids + 1)
    assert "other samples of the same data set" in unsure(*gate(2))


@pytest.mark.usefixtures("accepted")
def test_another_normalisation_is_inconclusive(
    gate: Callable[..., list[object]],
    unsure: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Answers that happen to be the same, as those of the fakes here, do not make it pass."""
    source = fake_targets.source()
    monkeypatch.setattr(
        "edgeq.data.load", lambda *_: source.with_normalization((0.001,), (1 / 255,))
    )
    told = unsure(*gate(2))
    assert "are fed with raw, and this run's with scale 1/255, mean 0.001" in told
    assert "--preprocess" in told


@pytest.mark.usefixtures("accepted")
@pytest.mark.parametrize("part", ["pixels", "labels"])
def test_other_pixels_or_labels_under_the_same_ids_are_inconclusive(
    gate: Callable[..., list[object]],
    unsure: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    part: str,
) -> None:
    source = fake_targets.source()
    monkeypatch.setattr("edgeq.data.load", lambda *_: source)
    values = source.test.labels if part == "labels" else source.test.images
    assert isinstance(values, np.ndarray)
    values[-1:] = 3 - values[-1:]
    assert f"the samples have other {part} than the baseline's" in unsure(*gate(2))


@pytest.mark.usefixtures("accepted")
def test_another_order_is_told_as_what_it_is(
    gate: Callable[..., list[object]],
    unsure: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = fake_targets.source()
    turned = replace(source, test=source.test.take(np.arange(39, -1, -1)))
    monkeypatch.setattr("edgeq.data.load", lambda *_: turned)
    assert "the samples come in another order than the baseline's" in unsure(*gate(2))


@pytest.mark.usefixtures("accepted")
def test_other_classes_are_inconclusive(
    gate: Callable[..., list[object]], refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "edgeq.data.load", lambda *_: replace(fake_targets.source(), classes=("a",))
    )
    refusal(*gate(2), code=2)
    wider = replace(fake_targets.source(), classes=tuple("abcde"))
    data = [
        EvaluationData.of(source, "test", source.test) for source in (fake_targets.source(), wider)
    ]
    assert data[1].differs(data[0]) == (
        "the baseline is about 4 classes, and this run about 5",
        "use the same files",
    )


def test_another_measure_is_inconclusive(
    accepted: Path, gate: Callable[..., list[object]], unsure: Callable[..., str]
) -> None:
    content = json.loads(accepted.read_text())
    assert content["metric"] == "top-1 accuracy"
    accepted.write_text(json.dumps({**content, "metric": "mean IoU"}))
    assert "the baseline holds mean IoU, and this run measures top-1 accuracy" in unsure(*gate(2))


@pytest.mark.usefixtures("accepted")
def test_data_that_are_gone_are_no_pass(
    gate: Callable[..., list[object]], refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise ArtefactError("the files are missing", hint="fetch them")

    monkeypatch.setattr("edgeq.data.load", gone)
    refusal(*gate(2), code=2)


@pytest.mark.usefixtures("accepted")
def test_a_new_stage_is_inconclusive(
    gate: Callable[..., list[object]], answer: Callable[..., Any], tmp_path: Path
) -> None:
    found = answer(*gate(2, fake_targets.artefact(tmp_path, "tflite")), code=3)
    told = [each["message"] for each in found["findings"] if each["rule"] == "stage"]
    assert [message.endswith("is not in the baseline") for message in told] == [True] * 3


@pytest.mark.usefixtures("accepted")
def test_a_stage_left_out_is_inconclusive(
    gate: Callable[..., list[object]], answer: Callable[..., Any]
) -> None:
    found = answer(
        *gate(2, "--target", "torch-fp32", "--target", "torch", "--target", "ort-cpu"), code=3
    )
    first = found["findings"][0]
    assert (first["stage"], first["outcome"]) == ("net.onnx @ ort-cpu-ref", "not-run")


@pytest.mark.usefixtures("accepted")
def test_a_target_that_is_gone_is_no_pass(
    gate: Callable[..., list[object]],
    answer: Callable[..., Any],
    fakes: dict[str, fake_targets.FakeTarget],
) -> None:
    fakes["ort-cpu"].usable = False
    first = answer(*gate(2), code=4)["findings"][0]
    assert (first["stage"], first["outcome"]) == ("net.onnx @ ort-cpu", "not-run")
    del fakes["ort-cpu"]
    first = answer(*gate(2), code=4)["findings"][0]
    assert first["message"] == "net.onnx @ ort-cpu cannot run here"


@pytest.mark.usefixtures("accepted")
def test_a_failure_outweighs_what_is_unsure(
    gate: Callable[..., list[object]],
    answer: Callable[..., Any],
    fakes: dict[str, fake_targets.FakeTarget],
) -> None:
    fakes["ort-cpu"].usable = False
    assert answer(*gate(20), code=1)["outcome"] == "failed"


def test_what_changed_since_is_told_with_a_failure(
    accepted: Path, gate: Callable[..., list[object]], capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(accepted.read_text())
    content["context"]["onnxruntime"] = "0.1"
    accepted.write_text(json.dumps(content))
    assert run([*map(str, gate(20))]) == 1
    assert "since the baseline, onnxruntime: 0.1 then, " in capsys.readouterr().err


@pytest.mark.parametrize("allowed", ["nan", "-1", "inf"])
def test_a_drop_that_is_no_number_is_refused(
    gate: Callable[..., list[object]], refusal: Callable[..., str], allowed: str
) -> None:
    refusal(*gate(0, "--max-drop", allowed))


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"{",
        lambda _: b"[]",
        lambda _: b"null",
        lambda _: b"[" * 100_000,
        lambda content: json.dumps({**content, "schema": "edgeq.baseline/9"}).encode(),
        lambda content: json.dumps({**content, "samples": 999}).encode(),
        lambda content: json.dumps({**content, "samples": 0}).encode(),
        lambda content: json.dumps({**content, "samples": 10**12}).encode(),
        lambda content: json.dumps(
            {
                **content,
                "stages": {"a @ b": {"correct": "***", "size_bytes": 1}},
            }
        ).encode(),
        lambda content: json.dumps(
            {key: value for key, value in content.items() if key != "ids_sha256"}
        ).encode(),
        lambda content: json.dumps({**content, "preprocessing": {"mean": ["a"]}}).encode(),
        lambda content: json.dumps({**content, "preprocessing": 3}).encode(),
        lambda content: json.dumps({**content, "preprocessing": {"std": [float("nan")]}}).encode(),
        lambda _: b"\xff\xfe",
    ],
)
def test_broken_baselines_are_refused(
    accepted: Path,
    gate: Callable[..., list[object]],
    refusal: Callable[..., str],
    damage: Callable[[Any], bytes],
) -> None:
    accepted.write_bytes(damage(json.loads(accepted.read_text())))
    assert "base.json" in refusal(*gate(2))


def test_a_broken_baseline_is_replaced_on_request_only(
    accepted: Path,
    gate: Callable[..., list[object]],
    refusal: Callable[..., str],
    answer: Callable[..., Any],
) -> None:
    accepted.write_text("{")
    assert "add --accept-worse" in refusal(*gate(2, "--update"))
    assert answer(*gate(2, "--update", "--accept-worse"))["outcome"] == "updated"


def test_an_update_that_cannot_be_written_is_refused_before_anything_runs(
    gate: Callable[..., list[object]],
    refusal: Callable[..., str],
    tmp_path: Path,
    fakes: dict[str, fake_targets.FakeTarget],
) -> None:
    (tmp_path / "base.json").mkdir()
    assert "is a folder" in refusal(*gate(0, "--update"))
    assert not any(target.sessions for target in fakes.values())


def test_an_update_refuses_what_guessing_reaches_unless_it_is_told_to_accept_it(
    gate: Callable[..., list[object]], answer: Callable[..., Any], tmp_path: Path
) -> None:
    assert run([*map(str, gate(30, "--update"))]) == 3
    assert not (tmp_path / "base.json").exists()
    found = answer(*gate(30, "--update", "--accept-guessing"))
    assert found["outcome"] == "updated"
