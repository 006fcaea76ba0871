"""Outputs of two artefacts are matched by name, by size, by content; a guess is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import edgeq
from edgeq.deploy.evaluation.emulation import emulate
from edgeq.deploy.evaluation.outputs.matching import match

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

RNG = np.random.default_rng(0)
BOXES = RNG.normal(size=(4, 30)).astype(np.float32)
SCORES = RNG.normal(size=(4, 30)).astype(np.float32)
CLASSES = RNG.normal(size=(4, 7)).astype(np.float32)


def pairs(tmp_path: Path, first: dict[str, Any], other: dict[str, Any]) -> list[tuple[str, str]]:
    found = match((tmp_path / "a.onnx", first), (tmp_path / "b.onnx", other))
    return [(each.name, each.other) for each in found]


def guesses(tmp_path: Path, first: dict[str, Any], other: dict[str, Any]) -> list[str]:
    found = match((tmp_path / "a.onnx", first), (tmp_path / "b.onnx", other))
    return [each.guess for each in found if each.guess]


def test_names_come_first(tmp_path: Path) -> None:
    first = {"boxes": BOXES, "scores": SCORES}
    other = {"scores:0": BOXES, "serving_default_boxes": SCORES}
    assert pairs(tmp_path, first, other) == [
        ("boxes", "serving_default_boxes"),
        ("scores", "scores:0"),
    ]


def test_then_the_number_of_values_and_then_what_is_in_them(tmp_path: Path) -> None:
    first = {"boxes": BOXES, "scores": SCORES, "classes": CLASSES}
    other = {"p": SCORES + 0.01, "q": CLASSES, "r": BOXES + 0.01, "s": BOXES[:, :2]}
    assert pairs(tmp_path, first, other) == [("boxes", "r"), ("scores", "p"), ("classes", "q")]
    assert guesses(tmp_path, first, other) == [
        "'r' of b.onnx was taken for 'boxes' by what is in it",
        "'p' of b.onnx was taken for 'scores' by what is in it",
    ]


def test_what_has_no_counterpart_is_left_out(tmp_path: Path) -> None:
    assert pairs(tmp_path, {"boxes": BOXES, "classes": CLASSES}, {"boxes": BOXES}) == [
        ("boxes", "boxes")
    ]


def two_headed(path: Path, names: Sequence[str], order: Sequence[int]) -> Path:
    """Two outputs of one size."""
    rng = np.random.default_rng(0)
    constants = {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in (("w", (4, 1, 3, 3)), ("v", (4, 4, 1, 1)), ("u", (4, 4, 1, 1)))
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Conv", ["r", "v"], [names[0]]),
        helper.make_node("Conv", ["r", "u"], [names[1]]),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4, 8, 8]) for name in names
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [ends[place] for place in order],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), path)
    return path


def test_the_drift_of_every_output_is_told(tmp_path: Path) -> None:
    first = two_headed(tmp_path / "a.onnx", ("boxes", "scores"), (0, 1))
    other = two_headed(tmp_path / "b.onnx", ("p", "q"), (1, 0))
    digits = edgeq.load_data("digits")
    made = edgeq.calibrate(other, digits, tmp_path / "made.onnx", samples=16).path
    found = edgeq.compare([first, other, made], digits, targets=["ort-cpu-ref"], limit=16)
    same, quantized = found.hops
    assert [(each.tensor, each.mse) for each in same.outputs] == [("boxes", 0), ("scores", 0)]
    assert all(25 < each.sqnr_db < 80 for each in quantized.outputs)
    assert "'p' of b.onnx was taken for 'boxes' by what is in it" in found.remarks
    answers = emulate(made, "tflm", source=digits, limit=4).answers
    assert answers is not None
    assert [each.tensor for each in answers.outputs] == ["q", "p"]
