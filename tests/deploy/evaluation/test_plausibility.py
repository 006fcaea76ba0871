"""A network that answers like guessing is doubted before it is calibrated."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

import edgeq
from edgeq.deploy.cli import run
from edgeq.deploy.evaluation.plausibility import doubts

if TYPE_CHECKING:
    from pathlib import Path


def nearest_mean(
    path: Path, level: float, outputs: int = 10, shape: tuple[int, ...] = (1, 1, 8, 8)
) -> Path:
    """A network that knows the digits by their means, in pixels less a level.

    It may have fewer outputs, or more that are never the largest.
    """
    digits = edgeq.load_data("digits", preprocess="raw")
    images = digits.train.images[:].reshape(-1, 64).astype(np.float32) - level
    means = np.stack([images[digits.train.class_labels == label].mean(0) for label in range(10)])
    weights, bias = np.zeros((64, outputs)), np.full(outputs, -1e6)
    weights[:, :10], bias[:10] = 2 * means.T[:, :outputs], -(means**2).sum(1)[:outputs]
    constants = {"w": weights, "b": bias}
    nodes = [
        onnx.helper.make_node("Flatten", ["x"], ["flat"]),
        onnx.helper.make_node("Gemm", ["flat", "w", "b"], ["y"]),
    ]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", shape), ("y", (1, outputs)))
    ]
    initializers = [
        onnx.numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name)
        for name, value in constants.items()
    ]
    graph = onnx.helper.make_graph(nodes, "net", ends[:1], ends[1:], initializers)
    opset = onnx.helper.make_opsetid("", 21)
    onnx.save(onnx.helper.make_model(graph, ir_version=10, opset_imports=[opset]), path)
    return path


@pytest.mark.parametrize(
    ("preprocess", "said"),
    [
        ("raw", ""),
        ({"scale": "1/2550"}, "is the preprocessing right? --preprocess raw reaches"),
        (
            {"scale": "1/2550", "layout": "nhwc", "resize": [8, 8], "interpolation": "nearest"},
            "--preprocess raw --resize 8x8 --interpolation nearest --layout nhwc reaches",
        ),
    ],
)
def test_what_scored_better_is_named(tmp_path: Path, preprocess: Any, said: str) -> None:
    source = edgeq.load_data("digits", preprocess=preprocess)
    shape = (1, *source.shape)
    told = doubts(nearest_mean(tmp_path / "net.onnx", 0, shape=shape), source)
    assert said in told
    assert bool(told) is bool(said)


@pytest.mark.parametrize("order", [range(1, 11), [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]])
def test_classes_in_another_order_are_found(tmp_path: Path, order: Any) -> None:
    digits = edgeq.load_data("digits", preprocess="raw")
    moved = np.array(order)[digits.test.class_labels]
    classes = tuple(f"digit-{moved}" for moved in range(max(order) + 1))
    source = replace(digits, classes=classes, test=replace(digits.test, labels=moved))
    told = doubts(nearest_mean(tmp_path / "net.onnx", 0, len(classes)), source)
    if order == range(1, 11):
        assert "where the network counts one less than the labels" in told
    else:
        assert "in the network's order, digit-3, digit-1, digit-4" in told


def test_samples_of_one_class_tell_no_order(tmp_path: Path) -> None:
    digits = edgeq.load_data("digits", preprocess="raw")
    nines = digits.test.take(np.flatnonzero(digits.test.class_labels == 9))
    renamed = replace(nines, labels=np.zeros(len(nines), np.int64))
    told = doubts(nearest_mean(tmp_path / "net.onnx", 0), replace(digits, test=renamed))
    assert "order," not in told
    assert "off by one" not in told


def test_the_commands_say_what_scored_better(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, baseline = nearest_mean(tmp_path / "net.onnx", 0), tmp_path / "base.json"
    wrong = ("--data", "digits", "--preprocess", "raw", "--scale", "1/2550", "-t", "ort-cpu-ref")
    for command in (
        ["compare", net, *wrong],
        ["gate", net, *wrong, "--baseline", baseline, "--update"],
        ["gate", net, *wrong, "--baseline", baseline, "--update", "--accept-guessing"],
    ):
        run([*map(str, command)])
        told = capsys.readouterr().err
        assert "guessing among 10 classes" in told
        assert "--preprocess raw reaches" in told
        assert baseline.exists() is ("--accept-guessing" in command)


def test_numbers_to_predict_are_no_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = nearest_mean(tmp_path / "net.onnx", 0, outputs=1)
    np.savez(tmp_path / "ages.npz", x=np.zeros((40, 1, 8, 8), np.float32), labels=np.arange(40))
    source = edgeq.load_data(tmp_path / "ages.npz")
    assert "edgeq compare --task mae judges it" in doubts(net, source)
    line = ["compare", str(net), "--data", str(tmp_path / "ages.npz"), "-t", "ort-cpu-ref"]
    assert run(line) == 0
    assert "edgeq compare --task mae judges it" in capsys.readouterr().err
    assert run([*line, "--task", "mae"]) == 0
    assert "MAE" in capsys.readouterr().out


def test_what_cannot_be_run_is_not_doubted(tmp_path: Path) -> None:
    assert doubts(tmp_path / "nothing.onnx", edgeq.load_data("digits")) == ""
