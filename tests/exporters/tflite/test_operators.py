"""Operators of attention, graph and audio networks against ONNX Runtime, and their table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support.models.qdq_models import (
    KERNELS,
    S8,
    U8,
    Graph,
    Grid,
    differences,
    interpreter,
    operators,
)

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.exporters.tflite.file.builder import Builder, StoredGrid
from edgeq.exporters.tflite.operators import LOWERINGS
from edgeq.exporters.tflite.operators import operators as supported
from edgeq.formats.tflite_schema import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SUM = Grid(0.4, 110)
BMM = ["RESHAPE", "BATCH_MATMUL", "RESHAPE"]


def ints(graph: Graph, name: str, values: Sequence[int] | np.ndarray) -> str:
    return graph.constant(name, np.array(values, np.int64))


def matmul(a: Sequence[Any], b: Sequence[Any]) -> Graph:
    graph = Graph()
    graph.op(
        "MatMul",
        [graph.input("a", a, S8), graph.input("b", b, Grid(0.03, 90))],
        "y",
        Grid(0.1, 120),
    )
    return graph


def matmul_constant(
    shape: Sequence[Any], constant: tuple[int, ...], *, first: bool = False
) -> Graph:
    graph = Graph()
    x = graph.input("x", shape, S8)
    c = graph.stored("c", graph.rng.integers(-127, 128, constant).astype(np.int8), 0.002)
    graph.op("MatMul", [c, x] if first else [x, c], "y", Grid(0.05, 120))
    return graph


def attention() -> Graph:
    graph = Graph()
    q, k = graph.input("q", ["N", 4, 8], S8), graph.input("k", ["N", 5, 8], S8)
    graph.node("Transpose", [k], "turned", perm=[0, 2, 1])
    scores = graph.op("MatMul", [q, "turned"], "scores", Grid(0.05, 128))
    graph.op("Softmax", [scores], "y", Grid(1 / 255), axis=-1)
    return graph


def reduced(
    op: str,
    axes: Sequence[int],
    grid: Grid,
    shape: Sequence[Any] = ("N", 6, 5, 7),
    **attributes: Any,
) -> Graph:
    graph = Graph()
    graph.op(op, [graph.input("x", shape, S8), ints(graph, "axes", axes)], "y", grid, **attributes)
    return graph


def softmax(op: str, grid: Grid, axis: int, shape: Sequence[Any] = ("N", 6, 5, 7)) -> Graph:
    graph = Graph()
    graph.op(op, [graph.input("x", shape, Grid(0.04, 128))], "y", grid, axis=axis)
    return graph


def prelu() -> Graph:
    graph = Graph()
    slopes = graph.stored("slopes", np.arange(-60, 60, 20, dtype=np.int8).reshape(6, 1, 1), 0.004)
    graph.op("PRelu", [graph.input("x", ["N", 6, 5, 7], S8), slopes], "y", Grid(0.015, 110))
    return graph


def resized(mode: str, sizes: tuple[int, int], grid: Grid = S8, **attributes: Any) -> Graph:
    graph = Graph()
    x = graph.input("x", [2, 3, 5, 6], S8)
    graph.op(
        "Resize",
        [x, "", "", ints(graph, "sizes", (2, 3, *sizes))],
        "y",
        grid,
        mode=mode,
        **attributes,
    )
    return graph


def gathered(indices: Any, axis: int, shape: Sequence[Any] = ("N", 6, 5, 7)) -> Graph:
    graph = Graph()
    graph.op(
        "Gather", [graph.input("x", shape, S8), ints(graph, "indices", indices)], "y", S8, axis=axis
    )
    return graph


def scattered(axis: int = 0) -> Graph:
    """Six edges of three features, added up at four nodes."""
    graph = Graph()
    shape, rows = ((6, 3), (4, 3)) if axis == 0 else ((2, 6, 3), (2, 4, 3))
    x = graph.input("x", shape, S8)
    at = np.array([0, 2, 2, 3, 0, 2]).reshape((6, 1) if axis == 0 else (1, 6, 1))
    zeros = graph.constant("zeros", np.zeros(rows, np.float32))
    indices = graph.constant("indices", np.broadcast_to(at, shape).astype(np.int64).copy())
    graph.op("ScatterElements", [zeros, indices, x], "y", SUM, axis=axis, reduction="add")
    return graph


def line(op: str, *shape: int, grid: Grid = S8, **attributes: Any) -> Graph:
    graph = Graph()
    x = graph.input("x", ["N", 6, 11], S8)
    if not shape:
        graph.op(op, [x], "y", grid, **attributes)
    elif op == "Conv":
        graph.weighted(op, x, "y", shape, grid, per_channel=True, relu=grid.zero == 0, **attributes)
    else:
        graph.inputs[-1].type.tensor_type.shape.dim[0].dim_value = 2
        weights = graph.stored("w", graph.rng.integers(-127, 128, shape).astype(np.int8), 0.002)
        graph.op(op, [x, weights], "y", grid, **attributes)
    return graph


def normalized(*, after: str = "", shape: Sequence[Any] = ("N", 6, 5, 7)) -> Graph:
    graph = Graph()
    x = graph.input("x", shape, S8)
    if after == "Conv":
        weights = graph.stored(
            "w", graph.rng.integers(-127, 128, (6, 6, 3, 3)).astype(np.int8), 0.0004
        )
        bias = graph.stored(
            "b",
            graph.rng.integers(-9000, 9000, 6).astype(np.int32),
            np.full(6, np.float32(S8.scale) * np.float32(0.0004)),
        )
        x = graph.node("Conv", [x, weights, bias], "sum", kernel_shape=[3, 3])
    numbers = {
        "gain": graph.rng.normal(0, 1, 6),
        "shift": graph.rng.normal(0, 1, 6),
        "mean": graph.rng.normal(0, 1, 6),
    }
    names = [graph.constant(name, values.astype(np.float32)) for name, values in numbers.items()]
    variance = graph.constant("variance", graph.rng.uniform(0.5, 2, 6).astype(np.float32))
    graph.op("BatchNormalization", [x, *names, variance], "y", Grid(0.03, 100))
    return graph


HALF: dict[str, Any] = {"coordinate_transformation_mode": "half_pixel"}
ASYMMETRIC: dict[str, Any] = {
    "coordinate_transformation_mode": "asymmetric",
    "nearest_mode": "floor",
}
CORNERS: dict[str, Any] = {"coordinate_transformation_mode": "align_corners"}
CASES: dict[str, tuple[Callable[[], Graph], list[str]]] = {
    "product of two": (lambda: matmul(["N", 3, 5], ["N", 5, 4]), ["BATCH_MATMUL"]),
    "product of two, spread": (lambda: matmul([2, 3, 5], [1, 5, 4]), ["BATCH_MATMUL"]),
    "product of heads": (lambda: matmul([2, 3, 4, 5], [2, 3, 5, 6]), ["BATCH_MATMUL"]),
    "product with a constant batch": (
        lambda: matmul_constant([2, 3, 5], (2, 5, 4)),
        ["BATCH_MATMUL"],
    ),
    "product with a constant in front": (
        lambda: matmul_constant(["N", 5, 4], (7, 5), first=True),
        ["BATCH_MATMUL"],
    ),
    "attention": (attention, ["TRANSPOSE", "BATCH_MATMUL", "SOFTMAX", "QUANTIZE"]),
    "sum over channels": (lambda: reduced("ReduceSum", [1], SUM), BMM),
    "sum over an image": (lambda: reduced("ReduceSum", [2, 3], SUM, keepdims=0), BMM),
    "sum over rows": (lambda: reduced("ReduceSum", [-2], SUM), BMM),
    "sum on the same grid": (lambda: reduced("ReduceSum", [1], S8), BMM),
    "sum over a line": (lambda: reduced("ReduceSum", [2], SUM, ("N", 6, 9), keepdims=0), BMM),
    "sum over channels and columns": (lambda: reduced("ReduceSum", [1, 2], SUM), BMM),
    "maximum": (lambda: reduced("ReduceMax", [2, 3], S8, keepdims=0), ["REDUCE_MAX"]),
    "softmax over channels": (
        lambda: softmax("Softmax", Grid(1 / 256), 1),
        ["TRANSPOSE", "SOFTMAX", "TRANSPOSE"],
    ),
    "softmax over columns": (lambda: softmax("Softmax", Grid(1 / 255), 3), ["SOFTMAX", "QUANTIZE"]),
    "softmax on a signed grid": (
        lambda: softmax("Softmax", Grid(1 / 127, 0, "int8"), 3),
        ["SOFTMAX", "QUANTIZE"],
    ),
    "log softmax": (lambda: softmax("LogSoftmax", Grid(1 / 16, 255), 3), ["LOG_SOFTMAX"]),
    "log softmax on another grid": (
        lambda: softmax("LogSoftmax", Grid(0.08, 180), 1, ["N", 9]),
        ["LOG_SOFTMAX", "QUANTIZE"],
    ),
    "prelu": (prelu, ["PRELU"]),
    "nearest": (lambda: resized("nearest", (10, 12), **ASYMMETRIC), ["RESIZE_NEAREST_NEIGHBOR"]),
    "nearest, half pixel": (
        lambda: resized("nearest", (10, 12), **HALF),
        ["RESIZE_NEAREST_NEIGHBOR"],
    ),
    "nearest, in other places": (
        lambda: resized(
            "nearest", (10, 12), coordinate_transformation_mode="asymmetric", nearest_mode="ceil"
        ),
        ["GATHER", "GATHER"],
    ),
    "nearest, smaller": (
        lambda: resized("nearest", (3, 4), **ASYMMETRIC),
        ["RESIZE_NEAREST_NEIGHBOR"],
    ),
    "linear": (lambda: resized("linear", (10, 12), **HALF), ["RESIZE_BILINEAR"]),
    "linear by 4": (lambda: resized("linear", (20, 24), **HALF), ["RESIZE_BILINEAR"]),
    "linear, asymmetric": (
        lambda: resized("linear", (10, 24), coordinate_transformation_mode="asymmetric"),
        ["RESIZE_BILINEAR"],
    ),
    "linear, corners": (lambda: resized("linear", (9, 11), **CORNERS), ["RESIZE_BILINEAR"]),
    "gather": (lambda: gathered([4, 0, -1], 1), ["GATHER"]),
    "gather columns": (lambda: gathered([4, 0, -1, 3], 3), ["GATHER"]),
    "gather one": (lambda: gathered(2, 1, ["N", 6, 7]), ["GATHER"]),
    "gather by a matrix": (lambda: gathered([[4, 0], [1, 1]], 1, ["N", 6, 7]), ["GATHER"]),
    "scatter": (scattered, BMM),
    "scatter in the middle": (lambda: scattered(1), BMM),
    "convolution over a line": (
        lambda: line("Conv", 4, 6, 3, kernel_shape=[3], pads=[1, 1]),
        ["TRANSPOSE", "RESHAPE", "CONV_2D", "RESHAPE", "TRANSPOSE"],
    ),
    "convolution over a line, to the past": (
        lambda: line(
            "Conv", 6, 1, 3, group=6, kernel_shape=[3], pads=[4, 0], dilations=[2], grid=U8
        ),
        ["TRANSPOSE", "RESHAPE", "PAD", "DEPTHWISE_CONV_2D", "RESHAPE", "TRANSPOSE"],
    ),
    "pooling over a line": (
        lambda: line("MaxPool", kernel_shape=[3], strides=[2]),
        ["TRANSPOSE", "RESHAPE", "MAX_POOL_2D", "RESHAPE", "TRANSPOSE"],
    ),
    "means over a line": (
        lambda: line("AveragePool", kernel_shape=[3], strides=[2]),
        ["TRANSPOSE", "RESHAPE", "AVERAGE_POOL_2D", "RESHAPE", "TRANSPOSE"],
    ),
    "normalisation of its own": (normalized, ["DEPTHWISE_CONV_2D"]),
    "normalisation after a convolution": (lambda: normalized(after="Conv"), ["CONV_2D"]),
    "normalisation of a line": (
        lambda: normalized(shape=("N", 6, 9)),
        ["TRANSPOSE", "RESHAPE", "DEPTHWISE_CONV_2D", "RESHAPE", "TRANSPOSE"],
    ),
    "transposed convolution over a line": (
        lambda: line("ConvTranspose", 6, 4, 2, kernel_shape=[2], strides=[2]),
        ["TRANSPOSE", "RESHAPE", "TRANSPOSE_CONV", "RESHAPE", "TRANSPOSE"],
    ),
}
EXACT = (
    "maximum",
    "nearest",
    "nearest, half pixel",
    "nearest, in other places",
    "nearest, smaller",
    "gather",
    "gather columns",
    "gather by a matrix",
)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("case", CASES)
def test_each_computes_what_onnx_runtime_computes(case: str, kernels: str) -> None:
    graph = CASES[case][0]()
    difference = differences(graph, kernels, samples=3)["y"]
    assert np.abs(difference).max() <= (0 if case in EXACT else 1)


@pytest.mark.parametrize("case", CASES)
def test_each_is_written_number_by_number(case: str) -> None:
    exported = exporter.export(CASES[case][0]().output(), ExportOptions())
    assert exported.parity.different == ()
    assert operators(exported.content) == CASES[case][1]


def float_scatter() -> Graph:
    graph = Graph()
    x = graph.input("x", (6, 3), S8)
    indices = graph.constant("indices", graph.rng.integers(0, 4, (6, 3)).astype(np.int64))
    graph.op(
        "ScatterElements",
        [graph.constant("zeros", np.zeros((4, 3), np.float32)), indices, x],
        "y",
        SUM,
        axis=0,
        reduction="add",
    )
    return graph


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (softmax("Softmax", Grid(2.0**-14), 1), "the model's 6.10352e-05 is finer"),
        (softmax("LogSoftmax", Grid(0.1, 255), 1), "below -16"),
        (resized("cubic", (10, 12)), "mode is cubic"),
        (resized("linear", (7, 11), **HALF), "beside the points of half_pixel"),
        (resized("linear", (10, 12), Grid(0.03, 100), **HALF), "different grids"),
        (float_scatter(), "its indices differ within a row"),
    ],
)
def test_what_cannot_be_exact_is_refused(graph: Graph, message: str) -> None:
    with pytest.raises(ArtefactError, match=message):
        exporter.export(graph.output(), ExportOptions())


def test_the_sum_of_the_reference_kernels_is_the_trap_it_is_said_to_be() -> None:
    """LiteRT's reference SUM gives other results each time it is run.

    The row of ones is there because of it.
    """
    values = np.random.default_rng(0).integers(-128, 128, (1, 9, 9, 8)).astype(np.int8)
    builder = Builder()
    x, y = (
        builder.activation("x", values.shape, StoredGrid.of(0.1, 3)),
        builder.activation("y", (1, 1, 1, 8), StoredGrid.of(1.7, -5)),
    )
    options = schema.ReducerOptionsT()
    options.keepDims = True
    builder.operator(schema.BuiltinOperator.SUM, 2, [x, builder.numbers([1, 2])], [y], options)
    content = builder.finish([x], [y], "", {})
    sums = (values.astype(np.float64) - 3).sum(axis=(1, 2), keepdims=True) * 0.1
    wanted = np.clip(np.rint(sums / np.float32(1.7)) - 5, -128, 127)
    wrong = {}
    for kernels in ("reference", "builtin"):
        runtime = interpreter(content, kernels)
        wrong[kernels] = 0
        for _ in range(5):
            runtime.set_tensor(x, values)
            runtime.invoke()
            wrong[kernels] += int(np.abs(runtime.get_tensor(y) - wanted).max() > 1)
    assert wrong["builtin"] == 0
    assert wrong["reference"] > 0, "the kernel is fixed: write SUM instead of a product with ones"


def test_the_table_names_what_the_issue_of_deployed_networks_asks_for() -> None:
    named = {operator.onnx for operator in supported()}
    assert {
        "Conv",
        "ConvTranspose",
        "MatMul",
        "Softmax",
        "Resize",
        "Gather",
        "ScatterElements",
        "ArgMax",
        "Cast",
        "Dropout",
    } <= named
    assert named >= {
        name
        for name in LOWERINGS
        if name not in ("Embedding", "Lookup", "Pick", "Requantize", "ResizeNearest")
    }
    assert all(operator.tflite and operator.conditions for operator in supported())
