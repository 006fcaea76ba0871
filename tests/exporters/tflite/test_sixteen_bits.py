"""int16 activations with int8 weights.

Each operator against ONNX Runtime on three kernel sets, and what must be refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support.models.qdq_models import (
    KERNELS,
    S8,
    S16,
    Graph,
    Grid,
    differences,
    operators,
    tflite_outputs,
)

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.formats.tflite_schema import schema

if TYPE_CHECKING:
    from collections.abc import Callable

WIDER, UNSIGNED = Grid(2e-4, 0, "int16"), Grid(1e-4, 2**15, "uint16")
UNIT, STEEP = Grid(2.0**-15, 0, "int16"), Grid(4e-4, 0, "int16")
SHAPE = ["N", 8, 6, 6]


def convolution(
    shape: tuple[int, ...] = (16, 8, 3, 3), source: Grid = S16, grid: Grid = WIDER, **options: Any
) -> Graph:
    graph = Graph()
    x = graph.input("x", SHAPE, source)
    window: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    graph.weighted("Conv", x, "y", shape, grid, **window | options)
    return graph


def dense(op: str, *, rank: int = 2, **options: Any) -> Graph:
    graph = Graph()
    x = graph.input("x", ["N", *[5] * (rank - 2), 24], S16)
    graph.weighted(op, x, "y", (24, 10), WIDER, channel_axis=1, bias=op == "Gemm", **options)
    return graph


def one(op: str, grid: Grid = S16, source: Grid = S16, **attributes: Any) -> Graph:
    graph = Graph()
    graph.op(op, [graph.input("x", SHAPE, source)], "y", grid, **attributes)
    return graph


def two(op: str, grid: Grid = WIDER, other: Grid = WIDER, **attributes: Any) -> Graph:
    graph = Graph()
    graph.op(
        op, [graph.input("a", SHAPE, S16), graph.input("b", SHAPE, other)], "y", grid, **attributes
    )
    return graph


def with_constant(dtype: str, zero: int = 0) -> Graph:
    graph = Graph()
    values = (
        (np.arange(-4, 4) * (20 if dtype == "int8" else 4000) + zero)
        .astype(dtype)
        .reshape(1, 8, 1, 1)
    )
    graph.op(
        "Add",
        [graph.input("x", SHAPE, S16), graph.stored("c", values, 1e-3, zero=zero)],
        "y",
        WIDER,
    )
    return graph


def reduced(op: str, grid: Grid) -> Graph:
    graph = Graph()
    x = graph.input("x", SHAPE, S16)
    graph.op(op, [x, graph.constant("axes", np.array([2, 3]))], "y", grid, keepdims=0)
    return graph


def gathered() -> Graph:
    graph = Graph()
    graph.op(
        "Gather",
        [graph.input("x", SHAPE, S16), graph.constant("chosen", np.array([1, 3]))],
        "y",
        S16,
        axis=1,
    )
    return graph


WINDOW: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
CASES: dict[str, Callable[[], Graph]] = {
    "convolution": convolution,
    "per channel": lambda: convolution(per_channel=True),
    "with a ReLU": lambda: convolution(relu=True),
    "without bias": lambda: convolution(bias=False),
    "grouped": lambda: convolution((16, 4, 3, 3), group=2),
    "depthwise": lambda: convolution((8, 1, 3, 3), group=8, per_channel=True),
    "dilated": lambda: convolution(dilations=[2, 2], pads=[2, 2, 2, 2]),
    "padding of its own": lambda: convolution(pads=[0, 1, 2, 1]),
    "uint16 around the middle": lambda: convolution(source=UNSIGNED, grid=UNSIGNED),
    "Gemm": lambda: dense("Gemm", per_channel=True),
    "MatMul": lambda: dense("MatMul", rank=3),
    "Add": lambda: two("Add"),
    "Sub": lambda: two("Sub"),
    "Mul": lambda: two("Mul", Grid(4e-4, 0, "int16")),
    "Concat": lambda: two("Concat", S16, S16, axis=1),
    "Add of an int16 constant": lambda: with_constant("int16"),
    "Add of an int8 constant": lambda: with_constant("int8", 7),
    "AveragePool": lambda: one("AveragePool", **WINDOW),
    "MaxPool": lambda: one("MaxPool", **WINDOW),
    "GlobalAveragePool": lambda: one("GlobalAveragePool", WIDER),
    "ReduceMean": lambda: reduced("ReduceMean", WIDER),
    "Relu": lambda: one("Relu", WIDER),
    "Sigmoid": lambda: one("Sigmoid", UNIT, STEEP),
    "Sigmoid on another grid": lambda: one("Sigmoid", Grid(1e-4, 0, "int16"), STEEP),
    "LeakyRelu": lambda: one("LeakyRelu", alpha=0.1),
    "Tanh": lambda: one("Tanh", UNIT, STEEP),
    "Gelu of 8 bits to 16": lambda: one("Gelu", S16, S8),
    "DepthToSpace": lambda: one("DepthToSpace", blocksize=2, mode="CRD"),
    "SpaceToDepth": lambda: one("SpaceToDepth", blocksize=3),
    "ReduceMax": lambda: reduced("ReduceMax", S16),
    "ReduceSum": lambda: reduced("ReduceSum", Grid(1e-3, 0, "int16")),
    "MatMul of two activations": lambda: two("MatMul", Grid(1e-3, 0, "int16")),
    "Gather": lambda: gathered(),
    "16 bits to 8": lambda: one("Identity", S8),
    "8 bits to 16": lambda: one("Identity", S16, S8),
}


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("case", CASES)
def test_each_operator_is_within_one_step_of_onnx_runtime(case: str, kernels: str) -> None:
    """Kernels use 15 bits of the multiplier, so a full-scale result is off by up to a step."""
    found = differences(CASES[case](), kernels, spread=60 if case == "8 bits to 16" else 9000)
    assert "y" in found
    assert max(np.abs(difference).max() for difference in found.values()) <= 1


@pytest.mark.parametrize("case", CASES)
def test_each_operator_is_written_number_by_number(case: str) -> None:
    exported = exporter.export(CASES[case]().output(), ExportOptions())
    assert exported.parity.different == ()
    assert exported.parity.compared > 0


def test_biases_are_int64_and_versions_are_those_that_know_int16() -> None:
    graph = convolution()
    graph.op("Add", ["y_dequantized", "y_dequantized"], "z", WIDER)
    model = schema.ModelT.InitFromPackedBuf(
        exporter.export(graph.output(), ExportOptions()).content
    )
    types = {tensor.name.decode(): tensor.type for tensor in model.subgraphs[0].tensors}
    kinds = schema.TensorType
    assert (types["x"], types["y.weight"], types["y.bias"], types["z"]) == (
        kinds.INT16,
        kinds.INT8,
        kinds.INT64,
        kinds.INT16,
    )
    assert {(code.builtinCode, code.version) for code in model.operatorCodes} == {
        (schema.BuiltinOperator.CONV_2D, 4),
        (schema.BuiltinOperator.ADD, 3),
    }


def test_a_range_narrower_than_16_bits_is_clamped() -> None:
    graph = convolution(grid=Grid(2e-3, 0, "int16", (-2048, 2047)))
    content = exporter.export(graph.output(), ExportOptions()).content
    assert operators(content) == ["CONV_2D", "MAXIMUM", "MINIMUM"]
    images = np.random.default_rng(0).integers(-(2**15), 2**15, (4, 6, 6, 8)).astype(np.int16)
    found = tflite_outputs(content, [images], "reference")[0]
    assert (found.min(), found.max()) == (-2048, 2047)


def test_a_product_that_32_bits_cannot_rescale_is_refused() -> None:
    """The kernels shift it left before they multiply, and say nothing when it overflows."""
    with pytest.raises(ArtefactError, match=r"Mul 'y/Mul' .* rescaled by 20, beyond 32 bits"):
        exporter.export(two("Mul", Grid(1e-9, 0, "int16")).output(), ExportOptions())


@pytest.mark.parametrize(
    ("op", "grid"),
    [
        ("Tanh", UNIT),
        ("HardSigmoid", UNIT),
        ("HardSwish", S16),
        ("Gelu", S16),
        ("Sigmoid", Grid(2.0**-16, 0, "int16")),
        ("Sigmoid", S8),
    ],
)
def test_functions_are_a_table_of_all_65536_integers(op: str, grid: Grid) -> None:
    """TFLite's own kernels of 16 bits are up to three steps off."""
    exported = exporter.export(one(op, grid, STEEP).output(), ExportOptions())
    assert operators(exported.content) == ["CAST", "ADD", "GATHER"]
    assert exported.parity.different == ()
    assert exported.parity.compared > 2**16


def test_a_softmax_of_16_bits_is_refused() -> None:
    """TFLite's kernel is about ten steps off."""
    with pytest.raises(ArtefactError, match="off by several steps"):
        exporter.export(one("Softmax", UNIT, STEEP).output(), ExportOptions())


def test_uint8_cannot_show_16_bits() -> None:
    with pytest.raises(ArtefactError, match="has 16 bits, which uint8 cannot show"):
        exporter.export(convolution().output(), ExportOptions(io_type="uint8"))


def test_floats_at_the_ends_are_quantised_to_16_bits() -> None:
    plain, floats = (
        exporter.export(convolution().output(), ExportOptions(io_type=kind)).content
        for kind in ("int8", "float32")
    )
    images = np.random.default_rng(0).integers(-(2**15), 2**15, (4, 6, 6, 8)).astype(np.int16)
    integers = tflite_outputs(plain, [images], "reference")[0]
    reals = tflite_outputs(floats, [images * np.float32(S16.scale)], "reference")[0]
    np.testing.assert_array_equal(np.rint(reals / np.float32(WIDER.scale)), integers)
