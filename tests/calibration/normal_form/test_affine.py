"""Preprocessing at the head of a float graph: the quantised file takes the pixels as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tests.support.checks.calibrated import sqnr_db, weights

from edgeq.calibration._nodes import constant
from edgeq.calibration.quantize import quantize_onnx
from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter

SIZE = 8
PIXELS: Any = np.random.default_rng(3).integers(0, 256, (12, 3, SIZE, SIZE)).astype(np.float32)
PIXELS[0, 0, 0, 0] = 255


def with_head(
    steps: list[tuple[str, Any]], *, nhwc: bool = False, uint8: bool = False, pad: int = 1
) -> ir.Model:
    """A convolution behind some steps of preprocessing, with the input ``x``."""
    nodes, constants, last = [], {"w": weights(6, 3, 3, 3), "v": weights(4, 6, 1, 1)}, "x"
    if uint8:
        steps = [("Cast", None), *steps]
    for number, (op_type, value) in enumerate(steps):
        made, operands = f"h{number}", [last]
        attributes: dict[str, Any] = {}
        if op_type == "Cast":
            attributes = {"to": TensorProto.FLOAT}
        elif op_type == "Transpose":
            attributes = {"perm": [0, 3, 1, 2]}
        else:
            constants[f"c{number}"] = np.asarray(value, np.float32)
            operands.append(f"c{number}")
        nodes.append(helper.make_node(op_type, operands, [made], name=made, **attributes))
        last = made
    nodes += [
        helper.make_node("Conv", [last, "w"], ["a"], name="first", pads=[pad] * 4),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Conv", ["r", "v"], ["y"]),
    ]
    shape: list[Any] = ["N", SIZE, SIZE, 3] if nhwc else ["N", 3, SIZE, SIZE]
    kind = TensorProto.UINT8 if uint8 else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return ir.from_proto(onnx.shape_inference.infer_shapes(made))


def answers(model: ir.Model, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {"x": x})[0])


def input_grid(model: ir.Model) -> tuple[float, int]:
    quantiser = next(user for user, _ in model.graph.inputs[0].uses())
    assert quantiser.op_type == "QuantizeLinear"
    scale, zero = (constant(quantiser.inputs[index]) for index in (1, 2))
    assert scale is not None
    assert zero is not None
    return float(scale), int(zero)


def held(model: ir.Model, *, nhwc: bool, uint8: bool) -> tuple[ir.Model, list[str]]:
    """The quantised model and what was told; it takes the pixels that the float one takes."""
    x = PIXELS.transpose(0, 2, 3, 1) if nhwc else PIXELS
    told: list[str] = []
    made = quantize_onnx(model, [x.astype(np.uint8) if uint8 else x], tell=told.append)
    computing = {node.op_type for node in made.graph}
    assert computing <= {"Conv", "Relu", "Transpose", "QuantizeLinear", "DequantizeLinear"}
    assert input_grid(made) == (1.0, 0)
    assert made.graph.inputs[0].dtype == ir.DataType.FLOAT
    wanted = answers(model, x.astype(np.uint8) if uint8 else x)
    assert sqnr_db(wanted, answers(made, x)) > 30
    exported = exporter.export(made, ExportOptions())
    assert exported.parity.different == ()
    assert exported.approximations == ()
    return made, [line for line in told if line.startswith("input")]


numbers = st.floats(1, 200).map(lambda value: round(value, 2))


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    scale=st.sampled_from([("Div", 255.0), ("Mul", 1 / 255), ("Div", 127.5), ("Div", 1.0)]),
    mean=st.one_of(numbers, st.lists(numbers, min_size=3, max_size=3)),
    std=st.one_of(numbers, st.lists(st.floats(40, 80), min_size=3, max_size=3)),
    order=st.permutations(["scale", "mean", "std"]),
    turned=st.integers(0, 3),
    nhwc=st.booleans(),
    uint8=st.booleans(),
    pad=st.integers(0, 1),
)
def test_any_head_is_taken_for_integers(
    scale: tuple[str, float],
    mean: Any,
    std: Any,
    order: list[str],
    turned: int,
    nhwc: bool,
    uint8: bool,
    pad: int,
) -> None:
    def shaped(value: Any, place: int) -> Any:
        behind = nhwc and place < turned
        return value if np.ndim(value) == 0 or behind else np.reshape(value, (3, 1, 1))

    steps: dict[str, tuple[str, Any]] = {
        "scale": scale,
        "mean": ("Sub", mean),
        "std": ("Div", std),
    }
    head = [(steps[name][0], shaped(steps[name][1], place)) for place, name in enumerate(order)]
    if nhwc:
        head.insert(turned, ("Transpose", None))
    _, told = held(with_head(head, nhwc=nhwc, uint8=uint8, pad=pad), nhwc=nhwc, uint8=uint8)
    assert len(told) == 1


def test_a_scale_alone_is_part_of_the_weights() -> None:
    made, told = held(with_head([("Div", 255.0)]), nhwc=False, uint8=False)
    assert [node.op_type for node in made.graph].count("Conv") == 2
    became = "became part of the weights of Conv node 'first'"
    assert told == [f"input 'x' is taken as it is: its Div node 'h0' {became}"]


def test_no_pixel_is_rounded_where_the_mean_lies_between_two_levels() -> None:
    model = with_head([("Div", 127.5), ("Sub", 1.0)], uint8=True)
    made, told = held(model, nhwc=False, uint8=True)
    assert told[0].endswith("became a convolution of one tap in integers")
    scaled = next(node for node in made.graph if node.op_type == "Conv").outputs[0]
    stored = next(user for user, _ in scaled.uses()).outputs[0]
    made.graph.outputs.append(stored)
    stored.type, stored.shape = ir.TensorType(ir.DataType.UINT8), None
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        ir.to_proto(made).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    assert np.array_equal(np.asarray(session.run([stored.name], {"x": PIXELS})[0]), PIXELS)


def test_samples_that_are_no_pixels_are_refused_where_pixels_are_taken() -> None:
    model = with_head([("Div", 255.0)], uint8=True)
    with pytest.raises(ArtefactError, match="takes uint8 pixels"):
        quantize_onnx(model, [PIXELS / 255])


def test_normalised_samples_keep_a_grid_of_their_own() -> None:
    made = quantize_onnx(with_head([("Sub", 0.5), ("Div", 0.25)]), [PIXELS / 255])
    scale, zero = input_grid(made)
    assert scale == pytest.approx(1 / 255)
    assert zero == 0
