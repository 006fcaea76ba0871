"""What the reader of QDQ models refuses, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.support.checks.reading import SHAPE, conv, read
from tests.support.models.qdq_models import S8, U8, Graph, Grid

from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Callable


# ---- what cannot be read -------------------------------------------------------------------------


def fallback(graph: Graph) -> None:
    x = graph.input("x", SHAPE, S8)
    conv(graph, x, "sum", S8)
    del graph.nodes[-2:]
    graph.op("Add", ["sum", x], "y", S8)


def float_output(graph: Graph) -> None:
    graph.node("Sigmoid", [graph.input("x", SHAPE, S8)], "y")


def float_input(graph: Graph) -> None:
    graph.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE))
    graph.op("Add", ["x", "x"], "y", S8)


def other_grid(graph: Graph) -> None:
    graph.input("x", SHAPE, S8)
    graph.node(
        "DequantizeLinear",
        ["x_quantized", graph.constant("s", np.float32(0.5)), "x_zero_point"],
        "y",
    )


def two_input_grids(graph: Graph) -> None:
    graph.input("x", SHAPE, S8)
    graph.node("Identity", ["x"], "again")
    graph.op("Add", ["x_dequantized", graph.quantize("again", U8)], "y", S8)


def dynamic_scale(graph: Graph) -> None:
    x = graph.input("x", SHAPE, S8)
    graph.node("ReduceMax", [x], "top", keepdims=0)
    graph.node("QuantizeLinear", [x, "top"], "y")


def bad_scale(graph: Graph) -> None:
    graph.input("x", SHAPE, Grid(float("nan")))
    graph.node("Identity", ["x_dequantized"], "y")


def zero_points(graph: Graph) -> None:
    graph.input("x", SHAPE, S8)
    zeros = graph.constant("zeros", np.zeros(7, np.int8))
    graph.node("QuantizeLinear", ["x_dequantized", graph.constant("s", np.float32(1)), zeros], "y")


def cycle(graph: Graph) -> None:
    graph.input("x", SHAPE, S8)
    graph.node("Add", ["x_dequantized", "b"], "a")
    graph.node("Add", ["x_dequantized", "a"], "b")
    graph.node("Identity", ["b"], "y")


def undefined(graph: Graph) -> None:
    graph.input("x", SHAPE, S8)
    graph.op("Add", ["x_dequantized", "nowhere"], "y", S8)


def subgraph(graph: Graph) -> None:
    graph.input("x", SHAPE, S8)
    empty = helper.make_graph([], "empty", [], [])
    graph.nodes.append(
        helper.make_node(
            "If", [graph.constant("c", np.array(True))], ["y"], then_branch=empty, else_branch=empty
        )
    )


def dynamic_image(graph: Graph) -> None:
    x = graph.input("x", ["N", 4, "H", "W"], S8)
    conv(graph, x, "y", S8)


def blocked(graph: Graph) -> None:
    x = graph.input("x", ["N", 4], S8)
    ints = graph.constant("w", np.ones((4, 4), np.int8))
    weight = graph.node(
        "DequantizeLinear",
        [ints, graph.constant("s", np.ones((2, 4), np.float32))],
        "wd",
        block_size=2,
    )
    graph.op("Gemm", [x, weight], "y", S8)


def unquantized(graph: Graph) -> None:
    graph.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE))
    graph.node("Sigmoid", ["x"], "y")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (fallback, "the result of Conv 'sum/Conv' stays in float"),
        (float_output, "the result of Sigmoid 'y/Sigmoid' stays in float"),
        (float_input, "the input 'x' is used in float"),
        (unquantized, "it is a float model"),
        (other_grid, "on another grid than it was written on"),
        (two_input_grids, "the input 'x' is quantised on two grids"),
        (dynamic_scale, "computes its scale at run time"),
        (bad_scale, "a scale that is not a positive number"),
        (zero_points, "7 zero points and 1 scales"),
        (cycle, "cycle"),
        (undefined, "nothing computes the value 'nowhere'"),
        (subgraph, "has a subgraph"),
        (dynamic_image, "cannot be inferred"),
        (blocked, "one scale a block"),
    ],
)
def test_what_no_integer_runtime_could_run_is_refused_by_name(
    build: Callable[[Graph], None], message: str
) -> None:
    graph = Graph()
    build(graph)
    with pytest.raises(ArtefactError, match=message):
        read(graph)


@pytest.mark.parametrize("opset", [9, 99])
def test_other_operator_sets_are_refused(opset: int) -> None:
    graph = Graph()
    graph.node("Identity", [graph.input("x", SHAPE, S8)], "y")
    with pytest.raises(ArtefactError, match=f"opset {opset}"):
        read(graph, opset=opset)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_windows_that_begin_behind_the_input_are_refused(op: str) -> None:
    """ONNX's shape inference of operator set 21 gives three rows; ONNX Runtime computes two."""
    graph = Graph()
    graph.op(
        op,
        [graph.input("x", ["N", 1, 4, 4], S8)],
        "y",
        S8,
        kernel_shape=[1, 1],
        strides=[3, 3],
        pads=[0, 0, 0, 0],
        ceil_mode=1,
    )
    assert read(graph).ops[0].output.shape == (1, 1, 2, 2)
    graph = Graph()
    graph.op(
        op,
        [graph.input("x", ["N", 1, 3, 4], S8)],
        "y",
        S8,
        kernel_shape=[1, 1],
        strides=[2, 3],
        ceil_mode=1,
    )
    assert read(graph).ops[0].output.shape == (1, 1, 2, 2)
    graph = Graph()
    graph.op(
        op,
        [graph.input("x", ["N", 1, 2, 4], S8)],
        "y",
        S8,
        kernel_shape=[1, 1],
        strides=[2, 3],
        ceil_mode=1,
    )
    with pytest.raises(ArtefactError, match="windows that begin behind its input"):
        read(graph)


def test_a_constant_beside_activations_is_refused_with_what_works() -> None:
    graph = Graph(np.random.default_rng(0))
    x = graph.input("x", (1, 2, 3), S8)
    graph.op("Concat", [graph.small("token", (1, 1, 3), 0.01), x], "y", S8, axis=1)
    with pytest.raises(ArtefactError, match=r"Concat .* joins a constant, such as") as caught:
        read(graph)
    assert "edgeq calibrate pads" in caught.value.hint
