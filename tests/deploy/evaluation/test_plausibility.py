"""A network that answers like guessing is doubted before it is calibrated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

import edgeq
from edgeq.deploy.evaluation.plausibility import doubts

if TYPE_CHECKING:
    from pathlib import Path


def nearest_mean(path: Path, level: float) -> Path:
    """A network that knows the digits by their means, in pixels less a level."""
    digits = edgeq.load_data("digits", preprocess="raw")
    images = digits.train.images[:].reshape(-1, 64).astype(np.float32) - level
    means = np.stack([images[digits.train.class_labels == label].mean(0) for label in range(10)])
    constants = {"w": 2 * means.T, "b": -(means**2).sum(1)}
    nodes = [
        onnx.helper.make_node("Flatten", ["x"], ["flat"]),
        onnx.helper.make_node("Gemm", ["flat", "w", "b"], ["y"]),
    ]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 1, 8, 8]), ("y", [1, 10]))
    ]
    weights = [
        onnx.numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name)
        for name, value in constants.items()
    ]
    graph = onnx.helper.make_graph(nodes, "net", ends[:1], ends[1:], weights)
    opset = onnx.helper.make_opsetid("", 21)
    onnx.save(onnx.helper.make_model(graph, ir_version=10, opset_imports=[opset]), path)
    return path


@pytest.mark.parametrize(
    ("preprocess", "said"),
    [
        ("raw", ""),
        ({"scale": "1/2550"}, "is the preprocessing right? --preprocess raw reaches"),
    ],
)
def test_what_scored_better_is_named(tmp_path: Path, preprocess: Any, said: str) -> None:
    source = edgeq.load_data("digits", preprocess=preprocess)
    told = doubts(nearest_mean(tmp_path / "net.onnx", 0), source)
    assert said in told
    assert bool(told) is bool(said)


def test_what_cannot_be_run_is_not_doubted(tmp_path: Path) -> None:
    assert doubts(tmp_path / "nothing.onnx", edgeq.load_data("digits")) == ""
