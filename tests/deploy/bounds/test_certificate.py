"""``edgeq bounds --data``: no runtime contradicts a certificate, and what has none is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
import pytest
import torch
from torch import nn

import edgeq
from edgeq.deploy.bounds.drift.certificate import exceeds
from edgeq.deploy.bounds.drift.signal import SLACK
from edgeq.deploy.bounds.run import require_held
from edgeq.deploy.cli import run
from edgeq.errors import GateFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TARGETS = ("ort-cpu-ref", "ort-cpu", "emulator:tflite-reference", "emulator:onnx-reference")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network, quantised after no training, whose logits lie far apart."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 10),
    )
    path = tmp_path_factory.mktemp("bounds") / "net.onnx"
    edgeq.calibrate(network, "digits", path, samples=64)
    return path


def test_no_runtime_leaves_the_bound_and_no_certain_answer_changes(file: Path) -> None:
    found = edgeq.bounds(file, "digits", targets=TARGETS, limit=120)
    first, alike, nearest = found.certificates
    assert [held.target for held in first.held] == list(TARGETS)
    assert all(held.violations == held.changed == 0 for held in first.held)
    assert all(held.drift <= first.bound for held in first.held)
    assert first.samples == 120
    assert 0 < first.certified <= nearest.certified
    assert alike.bound <= first.bound
    for each in found.certificates:
        assert all(row.measured is not None and row.measured <= row.bound for row in each.tensors)
    require_held(found)


def test_another_model_is_beyond_the_bound(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeq.targets.ort import OrtSession

    run_ = OrtSession.run
    monkeypatch.setattr(OrtSession, "run", lambda self, x: run_(self, x)[:, ::-1].copy())
    found = edgeq.bounds(file, "digits", targets=["ort-cpu-ref"], limit=40)
    (held,) = found.certificates[0].held
    assert held.violations == 40
    assert held.changed == found.certificates[0].certified > 0
    with pytest.raises(GateFailed, match="more than 1 LSB off"):
        require_held(found)


def test_the_tables_show_the_bound_beside_the_measurement(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bounds", str(file), "--data", "digits", "--limit", "40", "--drift"]
    assert run([*arguments, "--target", "ort-cpu-ref"]) == 0
    told = capsys.readouterr().out
    for words in ("every input", "answers that cannot change", "measured, LSB", "samples beyond"):
        assert words in told


def test_json_holds_each_certificate(file: Path, answer: Callable[..., Any]) -> None:
    certificates = answer("bounds", file, "--drift")["bounds"]["certificates"]
    (only,) = certificates
    assert only["samples"] == 0
    assert only["measured"] is None
    assert only["bound"] > 0


def test_what_has_no_bound_is_named(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softplus())
    path = tmp_path / "softplus.onnx"
    edgeq.calibrate(network, "digits", path, samples=8)
    with pytest.raises(UsageError, match="no bound is known for"):
        edgeq.bounds(path, drift=True)
    assert edgeq.bounds(path).sums
    for asked, following in (path, "compare"), (file, "bounds"):
        assert run(["bounds", str(asked)]) == 0
        assert f"next: edgeq {following} {asked} --data NAME" in capsys.readouterr().out
    with pytest.raises(UsageError, match="targets are named, and no data"):
        edgeq.bounds(file, targets=["ort-cpu"])


@pytest.mark.parametrize("end", ["Softmax", "LogSoftmax", "ArgMax"])
def test_what_stands_behind_the_logits_in_float_is_in_the_bound(tmp_path: Path, end: str) -> None:
    torch.manual_seed(0)
    path = tmp_path / "ends.onnx"
    edgeq.calibrate(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "digits", path, samples=64)
    model = onnx.load(path)
    logits = model.graph.output[0].name
    model.graph.node.append(onnx.helper.make_node(end, [logits], ["end"], axis=1))
    kind, width = (onnx.TensorProto.INT64, 1) if end == "ArgMax" else (onnx.TensorProto.FLOAT, 10)
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("end", kind, ["n", width]))
    onnx.save(model, path)
    found = edgeq.bounds(path, "digits", targets=["ort-cpu-ref"], limit=40, drift=True)
    held = found.certificates[1].held[0]
    assert held.violations == held.changed == 0
    assert 0 < found.certificates[1].certified < 40
    assert found.certificates[0].bound * (1 + SLACK) >= found.certificates[2].bound
    require_held(found)


@pytest.mark.parametrize(("answer", "beyond"), [(1.1, False), (1.1 + 2e-9, False), (1.1001, True)])
def test_a_bound_that_is_met_leaves_room_for_the_rounding_of_float32(
    answer: float, beyond: bool
) -> None:
    """Where clipping is all of an error, measured and bound are one number."""
    answers, logits, error = torch.tensor([[answer], [1.0], [0.1]], dtype=torch.float64)
    assert bool(exceeds(answers, logits, error)) is beyond
