"""What TFLite cannot say.

Exact where it can be rewritten, refused, or approximated with its error told in LSB.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.support.models.qdq_models import (
    KERNELS,
    S8,
    S16,
    U8,
    Graph,
    Grid,
    onnx_integers,
    operators,
    tflite_outputs,
)

from edgeq.errors import ArtefactError
from edgeq.exporter import Approximation, Exported, ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.exporters.tflite.legalize import legalize
from edgeq.qdq.ir import QdqConstant
from edgeq.qdq.reader import read_qdq

REQUANTIZE = ExportOptions(requantize=True)
PRODUCT = np.float32(U8.scale) * np.float32(1e-3)


def convolution(
    weights: np.ndarray,
    *,
    scale: Any = 1e-3,
    zero: int = 0,
    axis: int = 0,
    bias: Any = None,
    step: Any = None,
) -> Graph:
    graph = Graph()
    x = graph.input("x", ["N", weights.shape[1], 5, 5], U8)
    weight = (
        graph.constant("w", weights)
        if scale is None
        else graph.stored("w", weights, scale, axis, zero)
    )
    inputs = [x, weight]
    if bias is not None:
        inputs.append(
            graph.constant("b", np.asarray(bias, np.float32))
            if step is None
            else graph.stored("b", bias, step)
        )
    graph.op("Conv", inputs, "y", S8, kernel_shape=list(weights.shape[2:]))
    return graph


def pooling(ratio: float) -> Graph:
    graph = Graph()
    grid = Grid(S8.scale / ratio, 120)
    graph.op(
        "AveragePool",
        [graph.input("x", ["N", 3, 6, 6], S8)],
        "y",
        grid,
        kernel_shape=[2, 2],
        strides=[2, 2],
    )
    return graph


def constant(values: np.ndarray, op: str = "Mul", grid: Grid = S8) -> Graph:
    graph = Graph()
    graph.op(
        op,
        [graph.input("x", ["N", 6, 5, 5], grid), graph.constant("c", values.astype(np.float32))],
        "y",
        grid,
    )
    return graph


def random(low: int, high: int, dtype: str, shape: tuple[int, ...] = (8, 4, 3, 3)) -> np.ndarray:
    return np.random.default_rng(0).integers(low, high, shape, endpoint=True).astype(dtype)


def distance(graph: Graph, exported: Exported, kernels: str = "builtin") -> float:
    """How far the file's answers are from ONNX Runtime's, in LSB of the output, at the most.

    Inputs are the same integers.
    """
    view = read_qdq(graph.output())
    shape = (4, *view.inputs[0].shape[1:])
    scale = float(view.inputs[0].scale)
    images = (np.random.default_rng(1).normal(0.5, 1, shape) * 60 * scale).astype(np.float32)
    integers = onnx_integers(
        graph.proto(graph.nodes[-1].output[0]), {"x": images}, ["x_quantized", "y_quantized"]
    )
    shift = np.int32(-128 if integers["x_quantized"].dtype == np.uint8 else 0)
    fed = (integers["x_quantized"] + shift).astype(np.int8).transpose(exported.ends[0].axes)
    found = tflite_outputs(exported.content, [fed], kernels)[0].transpose(
        np.argsort(exported.ends[1].axes)
    )
    return float(np.abs(found.astype(int) - (integers["y_quantized"].astype(int) - 128)).max())


OFF_CENTRE = convolution(random(0, 255, "uint8"), zero=3, scale=2e-4)
TWO_LEAST = convolution(random(-128, -126, "int8"), scale=1e-4)
WRONG_AXIS = convolution(
    random(-127, 127, "int8"), scale=np.array([0.01, 0.02, 0.005, 0.013]) / 10, axis=1
)
FLOAT_WEIGHTS = convolution(
    np.random.default_rng(0).normal(0, 0.05, (8, 4, 3, 3)).astype(np.float32), scale=None
)
FLOAT_BIAS = convolution(random(-127, 127, "int8"), bias=np.linspace(-1, 1, 8))
OTHER_BIAS = convolution(
    random(-127, 127, "int8"), bias=random(-100, 100, "int32", (8,)), step=0.007
)
POOLING = pooling(1.7)
CONSTANT = constant(np.linspace(-1, 1, 6).reshape(6, 1, 1))

CASES: dict[str, tuple[Graph, str, list[tuple[str, float, float]], float]] = {
    # model, why it is refused, (what is approximated, its smallest and largest error in LSB),
    # greatest distance at the output
    "off-centre weights": (
        OFF_CENTRE,
        "zero point that int8 cannot shift away",
        [("w", 0.5, 1.0)],
        2,
    ),
    "more than one -128": (TWO_LEAST, "more than one weight of -128", [("w", 1.0, 1.0)], 2),
    "scales of another axis": (
        WRONG_AXIS,
        "do not follow the output channels",
        [("w", 0.2, 2.1)],
        2,
    ),
    "float weights": (FLOAT_WEIGHTS, "are in float", [("w", 0.4, 0.5)], 2),
    "float bias": (FLOAT_BIAS, "is not int32", [("b", 0.1, 0.5)], 1),
    "bias on another grid": (
        OTHER_BIAS,
        "is not input scale",
        [("b", 0.0, 0.5 * float(PRODUCT) / 0.007 + 1e-6)],
        1,
    ),
    "pooling between grids": (POOLING, "different grids", [("y", 1.0, 1.0)], 1),
    "float constant": (CONSTANT, "float constant", [("c", 0.1, 0.5)], 2),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_with_the_reason_and_the_way_out(case: str) -> None:
    graph, reason, _, _ = CASES[case]
    with pytest.raises(ArtefactError, match=reason) as caught:
        exporter.export(graph.output(), ExportOptions())
    assert "--requantize" in caught.value.hint


@pytest.mark.parametrize("case", CASES)
def test_it_is_approximated_where_that_is_allowed_and_listed_with_its_error(case: str) -> None:
    graph, _, expected, furthest = CASES[case]
    exported = exporter.export(graph.output(), REQUANTIZE)
    assert exported.parity.different == ()
    assert [each.tensor for each in exported.approximations] == [name for name, _, _ in expected]
    for each, (_, least, most) in zip(exported.approximations, expected, strict=True):
        assert least <= each.max_error_lsb <= most
    assert distance(graph, exported) <= furthest


@pytest.mark.parametrize(
    "case", ["off-centre weights", "scales of another axis", "float weights", "more than one -128"]
)
def test_the_error_that_is_told_is_the_error_of_the_stored_weights(case: str) -> None:
    graph = CASES[case][0]
    before = read_qdq(graph.output())
    legal = legalize(before, approximate=True)
    after, (told,) = legal.graph, legal.approximations
    old, new = before.ops[0].inputs[1], after.ops[0].inputs[1]
    assert isinstance(old, QdqConstant)
    assert isinstance(new, QdqConstant)
    assert new.params is not None
    assert np.abs(new.values.astype(np.int64)).max() <= 127
    grid = old.params or new.params
    unit = (
        grid.scale
        if grid.axis is None
        else grid.scale.reshape([-1 if i == grid.axis else 1 for i in range(4)])
    )
    error = np.abs(real(new) - real(old)) / unit
    assert told.max_error_lsb == pytest.approx(error.max(), rel=1e-3)


def real(constant: QdqConstant) -> np.ndarray:
    """The numbers that a constant stands for."""
    return (
        constant.values
        if constant.params is None
        else constant.params.dequantize(constant.values.astype(np.int32))
    )


def test_a_model_that_needs_none_is_left_as_it_is() -> None:
    plain = convolution(
        random(-127, 127, "int8"), bias=random(-100, 100, "int32", (8,)), step=PRODUCT
    )
    exported = exporter.export(plain.output(), REQUANTIZE)
    assert exported.approximations == ()
    assert exported.content == exporter.export(plain.output(), ExportOptions()).content


@pytest.mark.parametrize(
    "graph",
    [
        convolution(random(-127, 127, "int8"), bias=random(-9999, 9999, "int32", (8,)) * PRODUCT),
        convolution(random(-127, 127, "int8"), bias=random(-100, 100, "int8", (8,)), step=PRODUCT),
    ],
    ids=["float", "int8"],
)
def test_a_bias_that_lies_on_the_accumulators_grid_is_exact_however_it_is_stored(
    graph: Graph,
) -> None:
    exported = exporter.export(graph.output(), ExportOptions())
    assert exported.approximations == ()
    assert exported.parity.biases == 8
    assert distance(graph, exported) <= 1


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(
    "values",
    [np.array(0.37), np.array([1.5, -1.5, 0, 1.5, 0, -1.5]).reshape(6, 1, 1)],
    ids=["one", "signs"],
)
@pytest.mark.parametrize("op", ["Add", "Mul"])
def test_one_number_and_its_negative_have_an_exact_grid(
    op: str, values: np.ndarray, kernels: str
) -> None:
    graph = constant(values, op)
    exported = exporter.export(graph.output(), ExportOptions())
    assert exported.approximations == ()
    assert distance(graph, exported, kernels) <= 1


def test_float_constants_beside_16_bit_activations_are_written_too() -> None:
    exported = exporter.export(constant(np.array(0.5), "Mul", S16).output(), ExportOptions())
    assert (exported.parity.different, exported.approximations) == ((), ())


@pytest.mark.parametrize("ratio", [0.4, 1.7, 3.0, 5.5])
@pytest.mark.parametrize("kernels", KERNELS)
def test_a_pooling_between_grids_stays_within_the_error_that_is_told(
    ratio: float, kernels: str
) -> None:
    exported = exporter.export(pooling(ratio).output(), REQUANTIZE)
    assert operators(exported.content) == ["AVERAGE_POOL_2D", "QUANTIZE"]
    (told,) = exported.approximations
    assert told == Approximation(
        "pooling was rounded on its input's grid first", "y", ratio // 2 + 1
    )
    assert distance(pooling(ratio), exported, kernels) <= told.max_error_lsb


def test_a_bias_that_is_no_number_is_refused_even_then() -> None:
    graph = convolution(random(-127, 127, "int8"), bias=np.full(8, np.nan))
    with pytest.raises(ArtefactError, match="does not fit 32 bits"):
        exporter.export(graph.output(), REQUANTIZE)
