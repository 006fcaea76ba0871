"""A calibration is judged on samples that it has not seen, beside float and beside min-max."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch

import edgeq
from edgeq.calibration.config import CalibrationConfig
from edgeq.data import load, normalize
from edgeq.deploy.cli import run
from edgeq.deploy.evaluation import calibrated
from edgeq.deploy.evaluation.calibrated import check_judging, judged, trials_of
from edgeq.deploy.pipeline.calibrate import Job, calibrate
from edgeq.errors import ArtefactError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from edgeq.deploy.evaluation.calibrated import Outcome


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense layer behind a ReLU of random features, fitted to the digits by least squares."""
    digits = load("digits", None)
    images = normalize(digits.train.images, digits).reshape(-1, 64)
    labels = np.asarray(digits.train.labels)
    random = np.random.default_rng(0)
    first = random.normal(size=(64, 96)).astype(np.float32) / 8
    hidden = np.maximum(images @ first, 0)
    last = np.linalg.lstsq(hidden, np.eye(10)[labels], rcond=None)[0].astype(np.float32)
    make = onnx.helper.make_node
    nodes = [
        make("Flatten", ["x"], ["flat"]),
        make("Gemm", ["flat", "first"], ["h"], "first"),
        make("Relu", ["h"], ["r"]),
        make("Gemm", ["r", "last"], ["y"], "last"),
    ]
    sizes: dict[str, list[str | int]] = {"x": ["n", 1, 8, 8], "y": ["n", 10]}
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in sizes.items()
    ]
    constants = [
        onnx.numpy_helper.from_array(array, name)
        for name, array in (("first", first), ("last", last))
    ]
    graph = onnx.helper.make_graph(nodes, "net", ends[:1], ends[1:], constants)
    path = tmp_path_factory.mktemp("network") / "net.onnx"
    opset = onnx.helper.make_opsetid("", 21)
    onnx.save(onnx.helper.make_model(graph, ir_version=10, opset_imports=[opset]), path)
    return path


def outcome(network: Path, folder: Path, held_back: int = 100, **config: Any) -> Outcome:
    config.setdefault("methods", ())
    job = Job(network, load("digits", None), CalibrationConfig(**config), 200)
    path = folder / "made.onnx"
    return judged(job, path, calibrate(job, path), held_back)


def test_both_networks_are_judged_on_samples_held_back(network: Path, tmp_path: Path) -> None:
    found = outcome(network, tmp_path)
    assert found.held_back is not None
    assert found.held_back.samples == 100
    before, after = found.held_back.stages
    assert before.accuracy is not None
    assert after.accuracy is not None
    assert before.accuracy.fraction > 0.85
    assert abs(before.accuracy.correct - after.accuracy.correct) <= 2
    assert after.accuracy.low < after.accuracy.fraction < after.accuracy.high
    assert (found.not_judged, found.collapsed) == ("", "")
    assert [each.layer for each in found.done.layers] in (["first", "last"], ["last", "first"])
    assert found.next_command[:2] == ("edgeq", "export")
    doubted = replace(found, doubted=True)
    own = ("edgeq", "compare", str(network), "--data", "digits")
    assert doubted.next_command == own, "its data come first"
    none = [replace(stage, accuracy=None) for stage in (before, after)]
    unfit = replace(found, held_back=replace(found.held_back, stages=tuple(none)))
    assert unfit.next_command == doubted.next_command, "the labels fit nothing that it answers"


def test_an_observer_that_collapses_is_told_with_the_better_one(
    network: Path, tmp_path: Path
) -> None:
    found = outcome(network, tmp_path, observer="percentile:percent=70")
    assert found.collapsed.startswith("percentile:percent=70 is right on ")
    assert found.collapsed.endswith("hint: --observer minmax")
    assert found.next_command[:2] == ("edgeq", "compare")


def test_where_something_is_lost_what_lowers_the_noise_is_measured_and_offered(
    network: Path, tmp_path: Path, answer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrated, "_WORSE", -1.0)  # whatever is lost
    common = ["calibrate", str(network), "--data", "digits", "--samples", "32", "--held-back", "20"]
    told = answer(*common, "-o", tmp_path / "one.onnx")
    assert told["collapsed"] == "", "its weights make the noise, and no choice halves it"
    assert told["next"].startswith("edgeq compare")
    monkeypatch.setattr(calibrated, "_HALF_DB", 0.1)
    told = answer(*common, "-o", tmp_path / "two.onnx")
    said, flags = told["collapsed"].split("\n  hint: ")
    first, second = (float(each.split(" dB")[0].split()[-1]) for each in said.split("and "))
    assert second > first
    assert said.endswith(f"with {flags}")
    assert said.startswith("on 20 samples held back "), "which methods have not seen"
    assert told["next"].endswith(f"{flags} --overwrite")


def test_what_cannot_be_judged_says_why(network: Path, tmp_path: Path) -> None:
    assert outcome(network, tmp_path, 0).not_judged == "no samples were asked for"
    digits = load("digits", None)
    bare = replace(digits, test=replace(digits.test, labels=None))
    job = Job(network, bare, CalibrationConfig(), 20)
    found = judged(
        job, tmp_path / "made.onnx", calibrate(job, tmp_path / "made.onnx", overwrite=True)
    )
    assert found.held_back is not None
    assert found.held_back.stages[1].accuracy is None
    assert found.held_back.stages[1].agreement is not None
    none, one = (digits.test.take(np.arange(count)) for count in (0, 1))
    only = replace(digits, train=none, test=one)
    job = replace(job, source=only, samples=10_000)
    found = judged(job, tmp_path / "made.onnx", found.done)
    assert "no sample of digits is held back" in found.not_judged
    job = replace(job, source=digits, outputs=("r",))
    assert "was cut" in judged(job, tmp_path / "made.onnx", found.done).not_judged


def test_the_command_says_all_of_it(
    network: Path, tmp_path: Path, answer: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["calibrate", str(network), "--data", "digits", "--samples", "64", "--held-back", "50"]
    found = answer(*common, "-o", tmp_path / "one.onnx")
    assert found["held_back"]["samples"] == 50
    assert {each["layer"] for each in found["layers"]} == {"first", "last"}
    assert found["next"].startswith("edgeq export")
    assert run([*common, "-o", str(tmp_path / "two.onnx")]) == 0
    out = capsys.readouterr().out
    assert "95 % interval" in out
    assert "The layers that cost most, 2 of 2, on samples held back" in out
    assert "next: edgeq export" in out


def test_trials_are_draws_with_seeds(network: Path, tmp_path: Path) -> None:
    job = Job(network, load("digits", None), CalibrationConfig(weight_bits=4, methods=()), 16)
    found = trials_of(job, 3, 60)
    assert found == trials_of(job, 3, 60)
    assert (found.figure, found.samples, len(found.values)) == ("accuracy", 60, 3)
    assert found.mean == pytest.approx(np.mean(found.values))
    assert found.deviation == pytest.approx(np.std(found.values, ddof=1))
    drawn = [replace(job, seed=seed).chosen for seed in range(3)]
    assert all(len(set(each.tolist())) == 16 for each in drawn)
    assert not np.array_equal(drawn[0], drawn[1])
    assert str(found).startswith("3 sets of samples: accuracy ")


def test_sets_that_cannot_differ_are_refused(network: Path) -> None:
    digits = load("digits", None)
    job = Job(network, digits, CalibrationConfig(), len(digits.train))
    with pytest.raises(UsageError, match="every set would be all of them"):
        trials_of(job, 2)
    with pytest.raises(UsageError, match="no sample is held back"):
        check_judging(replace(job, samples=8), 0, 2)


def test_what_cannot_be_judged_is_refused_before_the_work(network: Path) -> None:
    digits = load("digits", None)
    values = normalize(digits.test.images, digits)
    values[7, 0, 0, 0] = np.nan
    odd = replace(digits, test=replace(digits.test, inputs={"": values}))
    job = Job(network, odd, CalibrationConfig(), 8)
    with pytest.raises(ArtefactError, match="hold NaN or infinity, number 45 first"):
        check_judging(job, len(values), 0)
    assert check_judging(job, 0, 0) == ""
    assert check_judging(replace(job, outputs=("r",)), len(values), 0) == ""


def test_the_next_command_names_data_and_network_as_they_were_typed(
    network: Path, tmp_path: Path
) -> None:
    found = outcome(network, tmp_path, observer="percentile:percent=70")
    typed = replace(found, job=replace(found.job, given="my photos/table.csv"))
    assert typed.next_command[-2:] == ("--data", "my photos/table.csv")
    own = replace(found, job=replace(found.job, network=("--model", "mine:net")))
    made = str(tmp_path / "made.onnx")
    assert own.next_command[:5] == ("edgeq", "compare", "--model", "mine:net", made)
    assert replace(own, doubted=True).next_command[:5] == (*own.next_command[:4], "--data")


def test_a_network_of_torch_is_judged_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    found = edgeq.calibrate(network, "digits", tmp_path / "made.onnx", samples=8, held_back=16)
    assert found.held_back is not None
    before, after = found.held_back.stages
    assert before.target == "torch-fp32"
    assert after.agreement is not None
    assert after.agreement >= 15 / 16
