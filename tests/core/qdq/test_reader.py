"""The integer view: many spellings of one meaning, and what has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from tests.support.checks.reading import SHAPE, conv, read
from tests.support.models.qdq_models import S8, U4, U8, Graph, Grid

from edgeq.qdq.ir import QdqConstant, QdqGraph, QdqTensor, same_grid
from edgeq.qdq.reader import read_qdq
from edgeq.quant import QuantParams

if TYPE_CHECKING:
    from collections.abc import Callable


def ops(view: QdqGraph) -> list[tuple[str, list[str], str]]:
    return [
        (op.op_type, [o.name for o in op.inputs if isinstance(o, QdqTensor)], op.output.name)
        for op in view.ops
    ]


def test_canonical_names_lose_their_suffixes() -> None:
    graph = Graph()
    conv(graph, graph.input("x", SHAPE, S8), "y", U4, relu=True)
    view = read(graph)
    assert ops(view) == [("Conv", ["x"], "y")]
    assert [o.name for o in view.ops[0].inputs if isinstance(o, QdqConstant)] == [
        "y.weight",
        "y.bias",
    ]
    assert view.inputs[0].graph_input == "x"
    assert view.outputs[0].name == "y_dequantized"
    assert list(view.tensors()) == ["x", "y"]


def test_a_graph_input_knows_what_it_holds() -> None:
    graph = Graph()
    conv(graph, graph.input("image", SHAPE, S8), "y", S8)
    view = read(graph)
    assert [(t.name, t.graph_input, t.is_input, t.shape) for t in view.tensors().values()] == [
        ("image", "image", True, (1, 4, 6, 6)),
        ("y", "", False, (1, 4, 6, 6)),
    ]
    assert view.dynamic_batch


def test_an_integer_clip_narrows_the_stored_grid() -> None:
    graph = Graph()
    conv(graph, graph.input("x", SHAPE, S8), "y", U4)
    tensor = read(graph).ops[0].output
    assert (tensor.params.qmin, tensor.params.qmax, tensor.low, tensor.high) == (0, 15, 0, 15)
    assert tensor.params.is_sub_range


@pytest.mark.parametrize(
    ("grid", "clip", "activation", "low", "high"),
    [
        (S8, (0.0, None), "relu", 128, 255),
        (S8, (0.0, 6.0), "relu6", 128, 255),
        (Grid(0.1, 100), (0.0, 6.0), "relu6", 100, 160),
        (Grid(0.1, 100), (-1.0, 1.0), "", 90, 110),
        (Grid(0.1, 100), (None, 1.0), "", 0, 110),
    ],
)
def test_a_float_clip_before_the_quantiser_bounds_its_integers(
    grid: Grid, clip: tuple[float | None, float | None], activation: str, low: int, high: int
) -> None:
    graph = Graph()
    x = graph.input("x", SHAPE, S8)
    conv(graph, x, "sum", S8)
    del graph.nodes[-2:]  # the quantiser after the sum
    bounds = [
        "" if b is None else graph.constant(f"bound{i}", np.float32(b)) for i, b in enumerate(clip)
    ]
    graph.op("Clip", ["sum", *bounds], "y", grid)
    op = read(graph).ops[0]
    assert (op.op_type, op.activation, op.output.low, op.output.high) == (
        "Conv",
        activation,
        low,
        high,
    )
    assert not op.output.params.is_sub_range


def saturating_dialect(graph: Graph) -> None:
    """4 bits by saturation at the storage dtype's end: Q(z=240) → DQ → Relu → Q(z=240)."""
    grid = Grid(0.1, 240)
    graph.op("Relu", [conv(graph, graph.input("x", SHAPE, S8), "y_sum", grid)], "y", grid)


def clipping_dialect(graph: Graph) -> None:
    conv(graph, graph.input("x", SHAPE, S8), "y", U4, relu=True)


@pytest.mark.parametrize("dialect", [saturating_dialect, clipping_dialect])
def test_two_dialects_of_one_net_mean_the_same_operator(dialect: Callable[[Graph], None]) -> None:
    graph = Graph()
    dialect(graph)
    view = read(graph)
    assert ops(view) == [("Conv", ["x"], "y")]
    tensor = view.ops[0].output
    assert (tensor.low - tensor.zero_point, tensor.high - tensor.zero_point) == (0, 15)
    assert view.ops[0].activation == "relu"


def test_a_clip_whose_input_is_used_elsewhere_stays_an_operator() -> None:
    graph = Graph()
    y = conv(graph, graph.input("x", SHAPE, S8), "y", S8)
    graph.op("Add", [graph.op("Relu", [y], "z", S8), y], "sum", S8)
    assert ops(read(graph)) == [
        ("Conv", ["x"], "y"),
        ("Requantize", ["y"], "z"),
        ("Add", ["z", "y"], "sum"),
    ]


def test_a_relu_between_quantised_operators_needs_no_quantiser() -> None:
    graph = Graph()
    y = conv(graph, graph.input("x", SHAPE, S8), "y", S8)
    graph.op("Add", [graph.node("Relu", [y], "z"), y], "sum", S8)
    view = read(graph)
    assert ops(view) == [
        ("Conv", ["x"], "y"),
        ("Requantize", ["y"], "z"),
        ("Add", ["z", "y"], "sum"),
    ]
    assert view.ops[1].output.low == 128


def test_a_bare_change_of_grid_is_a_requantise() -> None:
    graph = Graph()
    x = graph.input("x", SHAPE, S8)
    graph.node(
        "QuantizeLinear",
        [x, graph.constant("s", np.float32(0.5)), graph.constant("z", np.uint8(3))],
        "y_quantized",
    )
    graph.node("DequantizeLinear", ["y_quantized", "s", "z"], "y")
    view = read(graph)
    assert ops(view) == [("Requantize", ["x"], "y")]
    assert view.outputs[0].tensor.zero_point == 3


def test_identity_and_dropout_are_looked_through() -> None:
    graph = Graph()
    x = graph.node("Identity", [graph.input("x", SHAPE, S8)], "same")
    conv_input = graph.node("Dropout", [x], "kept")
    graph.scales["kept"] = S8.scale
    conv(graph, conv_input, "y", S8)
    assert ops(read(graph)) == [("Conv", ["x"], "y")]


def test_one_result_on_two_grids_is_two_operators_and_on_one_grid_one() -> None:
    graph = Graph()
    x = graph.input("x", SHAPE, S8)
    graph.node("Add", [x, x], "sum")
    for name, grid in (("a", S8), ("b", U8), ("c", S8)):
        graph.node("Identity", ["sum"], name)
        graph.quantize(name, grid)
    view = read(graph, "a_dequantized", "b_dequantized", "c_dequantized")
    assert ops(view) == [("Add", ["x", "x"], "a"), ("Add", ["x", "x"], "b")]
    assert [output.tensor.name for output in view.outputs] == ["a", "b", "a"]


@pytest.mark.parametrize("integers", [True, False])
def test_movement_keeps_the_grid_with_and_without_quantisers(integers: bool) -> None:
    graph = Graph()
    x = graph.input("x", SHAPE, Grid(0.1, 7, clip=(7, 99)))
    source = "x_quantized" if integers else x
    graph.node("Transpose", [source], "t_quantized" if integers else "t", perm=[0, 2, 3, 1])
    if integers:
        graph.node("DequantizeLinear", ["t_quantized", "x_scale", "x_zero_point"], "y")
    view = read(graph)
    assert ops(view) == [("Transpose", ["x"], "t")]
    moved = view.ops[0].output
    assert same_grid(moved.params, view.inputs[0].params)
    assert (moved.shape, moved.low, moved.high) == ((1, 6, 6, 4), 7, 99)


def test_pooling_before_the_quantiser_is_pooling_of_integers() -> None:
    graph = Graph()
    x = graph.input("x", SHAPE, S8)
    conv(graph, x, "sum", S8)
    del graph.nodes[-2:]
    graph.node("Relu", ["sum"], "rectified")
    graph.op("MaxPool", ["rectified"], "y", U4, kernel_shape=[2, 2])
    view = read(graph)
    assert ops(view) == [("Conv", ["x"], "rectified"), ("MaxPool", ["rectified"], "y")]
    assert all(op.output.high == 15 for op in view.ops)


def test_concatenation_puts_its_operands_onto_its_grid() -> None:
    graph = Graph()
    a, b = graph.input("a", SHAPE, S8), graph.input("b", SHAPE, U8)
    graph.op("Concat", [a, b], "y", S8, axis=-3)
    view = read(graph)
    assert ops(view) == [
        ("Requantize", ["b"], "b_dequantized"),
        ("Concat", ["a", "b_dequantized"], "y"),
    ]
    assert view.ops[1].attributes["axis"] == 1


def test_a_split_is_slices() -> None:
    graph = Graph()
    x = graph.input("x", SHAPE, S8)
    graph.nodes.append(helper.make_node("Split", [x], ["left", "right"], axis=1, num_outputs=2))
    view = read(graph, "left", "right")
    assert [(op.op_type, op.attributes["starts"], op.attributes["ends"]) for op in view.ops] == [
        ("Slice", (0,), (2,)),
        ("Slice", (2,), (4,)),
    ]


def test_averages_of_a_narrow_tensor_stay_narrow() -> None:
    graph = Graph()
    graph.op("AveragePool", [graph.input("x", SHAPE, U4)], "y", Grid(U4.scale), kernel_shape=[2, 2])
    tensor = read(graph).ops[0].output
    assert (tensor.low, tensor.high, tensor.params.qmax) == (0, 15, 255)


def test_float_weights_behind_a_quantiser_pair_are_integers() -> None:
    graph = Graph()
    x = graph.input("x", SHAPE, S8)
    floats = graph.rng.normal(0, 1, (4, 4, 3, 3)).astype(np.float32)
    grid = [
        graph.constant("ws", np.full(4, 0.02, np.float32)),
        graph.constant("wz", np.zeros(4, np.int8)),
    ]
    quantized = graph.node(
        "QuantizeLinear", [graph.constant("w", floats), *grid], "w_quantized", axis=0
    )
    weight = graph.node("DequantizeLinear", [quantized, *grid], "w_dequantized", axis=0)
    graph.op("Conv", [x, weight], "y", S8, kernel_shape=[3, 3])
    constant = read(graph).ops[0].inputs[1]
    assert isinstance(constant, QdqConstant)
    assert constant.params == QuantParams.of(np.full(4, 0.02, np.float32), 0, "int8", axis=0)
    np.testing.assert_array_equal(
        constant.values, np.clip(np.rint(floats / np.float32(0.02)), -128, 127)
    )


def test_four_bit_weights_are_widened() -> None:
    graph = Graph()
    x = graph.input("x", ["N", 4], S8)
    values = np.arange(-8, 8).reshape(4, 4)
    graph.constants.append(
        helper.make_tensor("w_quantized", TensorProto.INT4, (4, 4), values.ravel().tolist())
    )
    graph.constants.append(helper.make_tensor("wz", TensorProto.INT4, (), [0]))
    weight = graph.node(
        "DequantizeLinear", ["w_quantized", graph.constant("ws", np.float32(0.1)), "wz"], "w"
    )
    graph.op("Gemm", [x, weight], "y", S8)
    constant = read(graph).ops[0].inputs[1]
    assert isinstance(constant, QdqConstant)
    assert constant.params is not None
    assert constant.params.dtype == "int4"
    np.testing.assert_array_equal(constant.values, values)


def test_transposed_weights_are_transposed_once_and_for_all() -> None:
    graph = Graph()
    x = graph.input("x", ["N", 3], S8)
    values = np.arange(15, dtype=np.int8).reshape(5, 3)
    weight = graph.stored("w", values, np.full(5, 0.1), axis=0)
    graph.op("MatMul", [x, graph.node("Transpose", [weight], "wt")], "y", S8)
    constant = read(graph).ops[0].inputs[1]
    assert isinstance(constant, QdqConstant)
    assert constant.params is not None
    assert constant.params.axis == 1
    np.testing.assert_array_equal(constant.values, values.T)


def test_a_traced_flatten_computes_its_shape_at_run_time() -> None:
    graph = Graph()
    x = graph.input("x", SHAPE, S8)
    shape = graph.node("Shape", [x], "shape")
    first = graph.node("Gather", [shape, graph.constant("zero", np.array([0], np.int64))], "first")
    target = graph.node(
        "Concat", [first, graph.constant("rest", np.array([144], np.int64))], "target", axis=0
    )
    graph.node("Reshape", [x, target], "flat")
    graph.scales["flat"] = S8.scale
    graph.weighted("Gemm", "flat", "y", (5, 144), S8, transB=1)
    view = read(graph)
    assert ops(view) == [("Reshape", ["x"], "flat"), ("Gemm", ["flat"], "y")]
    assert view.ops[0].output.shape == (1, 144)


def test_integers_at_the_boundary_need_no_quantiser() -> None:
    graph = Graph()
    graph.inputs.append(
        helper.make_tensor_value_info("x_quantized", TensorProto.UINT8, [1, 4, 6, 6])
    )
    params = [graph.constant("s", np.float32(0.1)), graph.constant("z", np.uint8(9))]
    x = graph.node("DequantizeLinear", ["x_quantized", *params], "x")
    graph.scales["x"] = 0.1
    conv(graph, x, "y", S8)
    view = read(graph, "y_quantized")
    assert (view.inputs[0].name, view.inputs[0].graph_input, view.inputs[0].zero_point) == (
        "x",
        "x_quantized",
        9,
    )
    assert view.outputs[0].tensor.name == "y"


@pytest.mark.parametrize("opset", [13, 17, 21, 25])
def test_operator_sets_that_spell_alike_are_read(opset: int) -> None:
    graph = Graph()
    conv(graph, graph.input("x", SHAPE, S8), "y", U4, relu=True)
    assert ops(read(graph, opset=opset)) == [("Conv", ["x"], "y")]


def test_the_model_is_left_as_it_is() -> None:
    graph = Graph()
    saturating_dialect(graph)
    model = graph.output()
    before = ir.to_proto(model).SerializeToString()
    read_qdq(model)
    assert ir.to_proto(model).SerializeToString() == before


def test_a_slice_to_the_end_goes_by_what_it_reads_where_only_its_result_has_a_shape() -> None:
    graph = Graph()
    image = graph.input("image", [1, 2, 8, 8], U8)
    starts, ends, axes, steps = (
        graph.constant(f"slice{i}", np.array(v))
        for i, v in enumerate(([0, 0], [2**63 - 1] * 2, [2, 3], [2, 2]))
    )
    graph.op("Slice", [image, starts, ends, axes, steps], "half", U8)
    proto = graph.proto("half_dequantized")
    proto.graph.value_info.append(
        helper.make_tensor_value_info("half", TensorProto.FLOAT, [1, 2, 4, 4])
    )
    (op,) = read_qdq(ir.from_proto(proto)).ops
    assert op.attributes["ends"] == (8, 8)
    assert op.output.shape == (1, 2, 4, 4)


def test_a_clip_of_stored_weights_is_done_at_once() -> None:
    graph = Graph()
    image = graph.input("image", [1, 3], U8)
    weights = graph.constant("stored", np.array([[-128, -127, 5], [127, 3, 0]], np.int8))
    bounds = [
        graph.constant(name, np.array(bound, np.int8))
        for name, bound in (("least", -127), ("most", 100))
    ]
    graph.node("Clip", [weights, *bounds], "clipped")
    grid = [
        graph.constant("step", np.array(0.1, np.float32)),
        graph.constant("zero", np.array(0, np.int8)),
    ]
    graph.node("DequantizeLinear", ["clipped", *grid], "weights")
    graph.op("Gemm", [image, "weights"], "out", S8, transB=1)
    constant = read_qdq(graph.output()).ops[0].inputs[1]
    assert isinstance(constant, QdqConstant)
    assert constant.values.dtype == np.int8
    assert constant.values.tolist() == [[-127, -127, 5], [100, 3, 0]]


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax", "ReduceSum"])
@pytest.mark.parametrize("noop", [0, 1])
def test_a_reduction_over_no_axes_is_over_all_or_none(op: str, noop: int) -> None:
    graph = Graph()
    graph.op(
        op,
        [graph.input("x", [1, 4, 6, 6], S8), graph.ints("axes", [])],
        "y",
        Grid(0.5, 3),
        noop_with_empty_axes=noop,
    )
    last = read(graph).ops[-1]
    assert (last.op_type == "Requantize") == (noop or op == "ReduceMax")
    assert last.output.shape == ((1, 4, 6, 6) if noop else (1, 1, 1, 1))
