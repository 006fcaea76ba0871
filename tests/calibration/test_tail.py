"""Parts of an output keep grids of their own where their ranges differ, and share one else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeq.calibration.quantize import quantize_onnx
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.formats.onnx_io import serialize
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(8, 3, 8, 8)).astype(np.float32)
TAILS = {
    "concat": [helper.make_node("Concat", ["boxes", "scores"], ["y"], axis=1)],
    "reshaped": [
        helper.make_node("Concat", ["boxes", "scores"], ["both"], axis=1),
        helper.make_node("Reshape", ["both", "flat"], ["both_flat"]),
        helper.make_node("Transpose", ["both_flat"], ["y"], perm=[0, 2, 1]),
    ],
    "nested": [
        helper.make_node("Concat", ["boxes", "scores"], ["both"], axis=1),
        helper.make_node("Reshape", ["both", "flat"], ["a"]),
        helper.make_node("Reshape", ["more", "flat"], ["b"]),
        helper.make_node("Concat", ["a", "b"], ["y"], axis=2),
    ],
}

SCORES = {
    "concat": np.s_[:, 2:],
    "reshaped": np.s_[:, :, 2:],
    "nested": np.s_[:, 2:, :64],
}


def detector(tail: list[Any], width: float) -> ir.Model:
    """Boxes of a width, and scores, put together."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["maps"], pads=[1] * 4),
        helper.make_node("Slice", ["maps", "0", "2", "1"], ["raw"]),
        helper.make_node("Mul", ["raw", "width"], ["boxes"]),
        helper.make_node("Slice", ["maps", "2", "4", "1"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
        helper.make_node("Relu", ["maps"], ["more"]),
        *tail,
    ]
    constants = {
        "w": RNG.normal(size=(4, 3, 3, 3)).astype(np.float32) / 3,
        "width": np.full((1, 1, 1, 1), width, np.float32),
        "flat": np.array([0, 4, -1]),
        **{str(n): np.array([n]) for n in (0, 1, 2, 4)},
    }
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=8))


def answers(model: ir.Model, folder: Path) -> dict[str, np.ndarray]:
    """What a model's files answer, each on one runtime."""
    (folder / "net.onnx").write_bytes(serialize(model))
    if any(node.op_type == "QuantizeLinear" for node in model.graph):
        exported = exporter.export(model, ExportOptions(io_layout="nchw"))
        assert exported.parity.different == ()
        (folder / "net.tflite").write_bytes(exported.content)
        names = {
            "ort-cpu-ref": "net.onnx",
            "emulator:onnx-reference": "net.onnx",
            "tflite-ref": "net.tflite",
            "emulator:tflite-reference": "net.tflite",
        }
    else:
        names = {"ort-cpu-ref": "net.onnx"}
    found = {}
    for name, file in names.items():
        with TARGETS.load(name).open(folder / file) as session:
            found[name] = np.asarray(session.run(IMAGES))
    return found


@pytest.mark.parametrize("tail", TAILS)
def test_scores_beside_boxes_keep_their_grid(tail: str, tmp_path: Path) -> None:
    float_model = detector(TAILS[tail], 200.0)
    wanted = answers(float_model, tmp_path)["ort-cpu-ref"]
    made = quantize_onnx(float_model, [IMAGES])
    found = answers(made, tmp_path)
    where = SCORES[tail]
    assert wanted[where].max() <= 1
    for name, answer in found.items():
        assert answer.shape == wanted.shape, name
        assert np.abs(answer[where] - wanted[where]).max() < 0.05, name
    for first, second in (
        ("ort-cpu-ref", "emulator:onnx-reference"),
        ("tflite-ref", "emulator:tflite-reference"),
    ):
        np.testing.assert_array_equal(found[first], found[second])


@pytest.mark.parametrize("tail", TAILS)
def test_parts_of_like_ranges_are_put_together_as_integers(tail: str, tmp_path: Path) -> None:
    made = quantize_onnx(detector(TAILS[tail], 0.3), [IMAGES])
    maker = made.graph.outputs[0].producer()
    assert maker is not None
    assert maker.op_type == "DequantizeLinear"
    answers(made, tmp_path)


def test_a_part_that_a_relu_reads_is_stored_before_it(tmp_path: Path) -> None:
    tail = [
        helper.make_node("Relu", ["raw"], ["right"]),
        helper.make_node("Mul", ["right", "width"], ["wide"]),
        helper.make_node("Concat", ["raw", "wide"], ["y"], axis=1),
    ]
    float_model = detector(tail, 100.0)
    wanted = answers(float_model, tmp_path)["ort-cpu-ref"]
    for answer in answers(quantize_onnx(float_model, [IMAGES]), tmp_path).values():
        assert np.abs(answer[:, :2] - wanted[:, :2]).max() < 0.1
