"""Bugs of runtimes that a right file can fall into.

Each is shown to be there still, and that our files go round it.

When a runtime fixes one, the test that shows it fails: then the way round it can go too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.support.models.qdq_models import S8, U8, Graph, Grid, tflite_outputs

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters import onnx as onnx_files
from edgeq.exporters.tflite import exporter as tflite
from edgeq.formats.onnx_io import parse

if TYPE_CHECKING:
    from edgeq.formats.dialect import ActivationDtype

LEVEL = ort.GraphOptimizationLevel
SHAPE = (1, 8, 9, 9)
IMAGE = np.random.default_rng(0).normal(2, 2, SHAPE).astype(np.float32)


def run(
    content: bytes, level: ort.GraphOptimizationLevel, feeds: dict[str, np.ndarray]
) -> np.ndarray:
    """The first output, as ONNX Runtime computes it at a level of optimisation."""
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feeds)[0])


def content_of(graph: Graph, opset: int = 21, element: int = TensorProto.FLOAT) -> bytes:
    proto = graph.proto(graph.nodes[-1].output[0], opset=opset)
    proto.graph.output[0].type.tensor_type.elem_type = element
    return bytes(proto.SerializeToString())


def scales_of_inputs() -> bytes:
    """A square convolution whose weights have a scale for each input channel."""
    graph = Graph()
    weights = graph.rng.integers(-127, 128, (8, 8, 3, 3)).astype(np.int8)
    scales = (graph.rng.uniform(0.2, 3, 8) * 1e-3).astype(np.float32)
    graph.op(
        "Conv",
        [graph.input("x", SHAPE, U8), graph.stored("w", weights, scales, axis=1)],
        "y",
        S8,
        kernel_shape=[3, 3],
    )
    return content_of(graph)


def test_trap_scales_on_axis_1_are_misread_in_silence() -> None:
    content, feeds = scales_of_inputs(), {"x": IMAGE}
    right = run(content, LEVEL.ORT_DISABLE_ALL, feeds)
    wrong = run(content, LEVEL.ORT_ENABLE_ALL, feeds)
    assert np.abs(wrong - right).max() > 50 * S8.scale


@pytest.mark.parametrize("exporter", [onnx_files.exporter, tflite], ids=["onnx", "tflite"])
def test_scales_on_axis_1_are_refused_by_name(exporter: Any) -> None:
    with pytest.raises(
        ArtefactError,
        match=r"Conv 'y/Conv'.*(scale for each input channel|do not follow the output channels)",
    ):
        exporter.export(parse(scales_of_inputs(), ""), ExportOptions())


def test_scales_on_axis_1_are_put_on_output_channels_where_that_is_asked_for() -> None:
    content, feeds = scales_of_inputs(), {"x": IMAGE}
    exported = tflite.export(parse(content, ""), ExportOptions(requantize=True, io_type="float32"))
    assert [approximation.tensor for approximation in exported.approximations] == ["w"]
    found = tflite_outputs(exported.content, [IMAGE.transpose(0, 2, 3, 1)], "xnnpack")[0].transpose(
        0, 3, 1, 2
    )
    assert np.abs(found - run(content, LEVEL.ORT_DISABLE_ALL, feeds)).max() <= 3 * S8.scale


def two_bit_convolution() -> bytes:
    """A convolution with weights of 2 bits, as opset 25 stores them."""
    graph = Graph()
    x = graph.input("x", SHAPE, U8)
    centered = graph.rng.integers(-2, 2, (8, 8, 3, 3))
    graph.constants.append(
        helper.make_tensor(
            "w_quantized", TensorProto.INT2, centered.shape, centered.reshape(-1).tolist()
        )
    )
    graph.constants.append(helper.make_tensor("w_zero_point", TensorProto.INT2, [], [0]))
    graph.constants.append(numpy_helper.from_array(np.array(0.05, np.float32), "w_scale"))
    graph.node("DequantizeLinear", ["w_quantized", "w_scale", "w_zero_point"], "w")
    graph.op("Conv", [x, "w"], "y", Grid(0.2, 128), kernel_shape=[3, 3])
    proto = onnx.load_model_from_string(content_of(graph, 25))
    proto.ir_version = 13
    return bytes(proto.SerializeToString())


def test_trap_two_bit_weights_do_not_load_at_extended_optimisation() -> None:
    content, feeds = two_bit_convolution(), {"x": IMAGE}
    run(content, LEVEL.ORT_ENABLE_BASIC, feeds)
    with pytest.raises(Exception, match=r"(?i)int2|QLinearConv|INVALID_GRAPH"):
        run(content, LEVEL.ORT_ENABLE_EXTENDED, feeds)


def test_our_file_of_two_bit_weights_loads_and_is_right() -> None:
    content, feeds = two_bit_convolution(), {"x": IMAGE}
    exported = onnx_files.exporter.export(parse(content, ""), ExportOptions())
    assert exported.parity.different == ()
    wanted = run(content, LEVEL.ORT_DISABLE_ALL, feeds)
    assert np.array_equal(run(exported.content, LEVEL.ORT_DISABLE_ALL, feeds), wanted)
    assert np.abs(run(exported.content, LEVEL.ORT_ENABLE_ALL, feeds) - wanted).max() <= 1.01 * 0.2


def sliced(grid: Grid) -> bytes:
    """A Slice of a quantised input that is an output in float."""
    graph = Graph()
    x = graph.input("x", SHAPE, grid)
    graph.node(
        "Slice",
        [x, graph.ints("starts", [0]), graph.ints("ends", [4]), graph.ints("axes", [1])],
        "y",
    )
    return content_of(graph)


def dequantized_slice() -> bytes:
    """DequantizeLinear → Slice with an int8 zero point, from integers on."""
    graph = Graph()
    graph.inputs.append(helper.make_tensor_value_info("q", TensorProto.INT8, SHAPE))
    grid = [graph.number("scale", 0.02), graph.constant("zero", np.array(0, np.int8))]
    bounds = [graph.ints("starts", [0]), graph.ints("ends", [4]), graph.ints("axes", [1])]
    graph.node("Slice", [graph.node("DequantizeLinear", ["q", *grid], "x"), *bounds], "y")
    return content_of(graph)


def test_trap_a_slice_behind_an_int8_dequantizer_does_not_load() -> None:
    feeds = {"q": np.ones(SHAPE, np.int8)}
    run(dequantized_slice(), LEVEL.ORT_ENABLE_BASIC, feeds)
    with pytest.raises(Exception, match="output_dtype INT8 does not match y_zero_point type UINT8"):
        run(dequantized_slice(), LEVEL.ORT_ENABLE_ALL, feeds)


@pytest.mark.parametrize("activation_dtype", ["uint8", "int8"])
@pytest.mark.parametrize(
    "grid", [Grid(0.02, 3, "int8"), Grid(0.02, 0, "int8"), Grid(0.02, 128)], ids=str
)
def test_our_file_of_a_slice_loads_and_is_right(
    grid: Grid, activation_dtype: ActivationDtype
) -> None:
    content, feeds = sliced(grid), {"x": IMAGE}
    exported = onnx_files.exporter.export(
        parse(content, ""), ExportOptions(activation_dtype=activation_dtype)
    )
    assert np.array_equal(
        run(exported.content, LEVEL.ORT_ENABLE_ALL, feeds),
        run(content, LEVEL.ORT_DISABLE_ALL, feeds),
    )
