"""Convolutions against ONNX Runtime on three kernel sets, and what must be refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.support.models.qdq_models import (
    KERNELS,
    S4,
    S8,
    U4,
    U8,
    Graph,
    Grid,
    differences,
    lsb_of,
    onnx_integers,
    operators,
)

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.qdq.reader import read_qdq

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "no padding": {"pads": [0, 0, 0, 0]},
    "per channel": {"per_channel": True},
    "stride as SAME": {"strides": [2, 2]},
    "stride, asymmetric": {"strides": [2, 2], "pads": [0, 0, 1, 1]},
    "padding of its own": {"pads": [0, 1, 2, 1]},
    "dilated": {"dilations": [2, 2], "pads": [2, 2, 2, 2]},
    "auto_pad": {"pads": None, "auto_pad": "SAME_LOWER", "strides": [2, 2]},
    "pointwise": {"kernel": 1, "pads": [0, 0, 0, 0]},
    "without bias": {"bias": False},
    "grouped": {"group": 2},
    "depthwise": {"group": 8, "channels": 8, "per_channel": True},
    "depthwise, two a channel": {"group": 8, "channels": 16},
    "depthwise, strided": {"group": 8, "channels": 8, "strides": [2, 2]},
    "to 4 bits": {"grid": U4, "relu": True},
    "to 4 bits, clipped only": {"grid": U4},
    "to signed 4 bits": {"grid": S4},
    "4 bits to 4 bits": {"source": U4, "grid": U4, "relu": True, "levels": 7},
    "int8 storage dtype": {"source": Grid(0.02, -3, "int8"), "grid": Grid(0.05, 5, "int8")},
    "relu that saturation does not do": {"grid": S8, "relu": True},
}


def convolution(
    *,
    source: Grid = S8,
    grid: Grid = S8,
    kernel: int = 3,
    channels: int = 16,
    size: int = 9,
    group: int = 1,
    pads: list[int] | None = [1, 1, 1, 1],  # noqa: B006  # never changed
    **options: Any,
) -> Graph:
    graph = Graph()
    x = graph.input("x", ["N", 8, size, size], source)
    attributes: dict[str, Any] = {"kernel_shape": [kernel, kernel], "group": group} | (
        {} if pads is None else {"pads": pads}
    )
    graph.weighted(
        "Conv", x, "y", (channels, 8 // group, kernel, kernel), grid, **attributes, **options
    )
    return graph


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("case", CASES)
def test_each_variant_computes_what_onnx_runtime_computes(case: str, kernels: str) -> None:
    difference = differences(convolution(**CASES[case]), kernels)["y"]
    assert np.abs(difference).max() <= 1
    if kernels == "xnnpack":  # requantises in float32, half to even, as ONNX does
        assert not difference.any()
    else:  # see twice_rounded below
        assert (difference != 0).mean() < 0.01


@pytest.mark.parametrize("case", CASES)
def test_each_variant_is_written_number_by_number(case: str) -> None:
    exported = exporter.export(convolution(**CASES[case]).output(), ExportOptions())
    assert exported.parity.different == ()
    assert exported.parity.weights >= 8 * 9


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("plain", ["CONV_2D"]),
        ("depthwise", ["DEPTHWISE_CONV_2D"]),
        ("padding of its own", ["PAD", "CONV_2D"]),
        ("stride as SAME", ["CONV_2D"]),
        ("to 4 bits", ["CONV_2D"]),
        ("to 4 bits, clipped only", ["CONV_2D"]),
        ("to signed 4 bits", ["CONV_2D", "MAXIMUM"]),
    ],
)
def test_no_operator_is_written_that_is_not_needed(case: str, expected: list[str]) -> None:
    assert (
        operators(exporter.export(convolution(**CASES[case]).output(), ExportOptions()).content)
        == expected
    )


def test_same_padding_is_tflites_word_only_where_it_pads_alike() -> None:
    even = convolution(size=8, strides=[2, 2])  # ONNX pads 1 and 1, SAME would pad 0 and 1
    assert operators(exporter.export(even.output(), ExportOptions()).content) == ["PAD", "CONV_2D"]
    assert np.abs(differences(even, "reference")["y"]).max() <= 1


def stored_weights(
    values: np.ndarray, *, zero: int = 0, scale: float | np.ndarray = 0.001, axis: int = 0
) -> Graph:
    graph = Graph()
    x = graph.input("x", ["N", values.shape[1], 5, 5], U8)
    weight = graph.stored("w", values, scale, axis, zero)
    graph.op("Conv", [x, weight], "y", S8, kernel_shape=list(values.shape[2:]))
    return graph


@pytest.mark.parametrize("kernels", KERNELS)
def test_one_weight_of_minus_128_a_channel_is_computed_right(kernels: str) -> None:
    weights = np.random.default_rng(0).integers(-127, 128, (8, 4, 3, 3)).astype(np.int8)
    weights[:, 1, 2, 0] = -128
    assert np.abs(differences(stored_weights(weights), kernels)["y"]).max() <= 1


def test_two_weights_of_minus_128_in_a_channel_are_refused() -> None:
    weights = np.zeros((2, 4, 1, 1), np.int8)
    weights[1, :2] = -128
    with pytest.raises(ArtefactError, match="more than one weight of -128"):
        exporter.export(stored_weights(weights).output(), ExportOptions())


@pytest.mark.parametrize("zero", [128, 100])
def test_unsigned_weights_are_shifted_where_they_fit(zero: int) -> None:
    weights = np.random.default_rng(0).integers(zero - 90, zero + 91, (8, 4, 3, 3)).astype(np.uint8)
    graph = stored_weights(weights, zero=zero)
    exported = exporter.export(graph.output(), ExportOptions())
    assert exported.parity.different == ()
    assert np.abs(differences(graph, "reference")["y"]).max() <= 1


def test_unsigned_weights_that_int8_cannot_hold_are_refused() -> None:
    with pytest.raises(
        ArtefactError, match=r"Conv 'y/Conv' .* zero point that int8 cannot shift away"
    ):
        exporter.export(
            stored_weights(np.full((2, 4, 1, 1), 255, np.uint8), zero=3).output(), ExportOptions()
        )


def test_scales_of_another_axis_than_the_output_channels_are_refused() -> None:
    graph = stored_weights(np.ones((4, 4, 1, 1), np.int8), scale=np.full(4, 0.01), axis=1)
    with pytest.raises(ArtefactError, match="do not follow the output channels"):
        exporter.export(graph.output(), ExportOptions())


def with_bias(values: np.ndarray, scale: float | None) -> Graph:
    graph = Graph()
    x = graph.input("x", [1, 4, 5, 5], U8)
    weight = graph.stored("w", np.ones((2, 4, 1, 1), np.int8), 0.01)
    bias = (
        graph.constant("b", values.astype(np.float32))
        if scale is None
        else graph.stored("b", values, scale)
    )
    graph.op("Conv", [x, weight, bias], "y", S8, kernel_shape=[1, 1])
    return graph


@pytest.mark.parametrize(
    ("values", "scale", "message"),
    [
        (np.full(2, 0.1), None, "is not int32"),
        (np.full(2, 5, np.int8), 0.001, "is not int32"),
        (np.full(2, 5, np.int32), 0.03 * 0.01 * 1.001, "is not input scale"),
    ],
)
def test_a_bias_that_is_not_on_the_accumulators_grid_is_refused(
    values: np.ndarray, scale: float | None, message: str
) -> None:
    with pytest.raises(ArtefactError, match=message):
        exporter.export(with_bias(values, scale).output(), ExportOptions())


def twice_rounded(sums: np.ndarray, multiplier: float) -> np.ndarray:
    """Rescaling as TFLite's 32-bit kernels do it.

    A rounding high multiplication, then a rounding shift.

    Jacob et al., Quantization and training of neural networks for efficient integer-arithmetic-only
    inference, Section 2.2.
    """
    mantissa, exponent = np.frexp(multiplier)
    product = sums.astype(np.int64) * round(float(mantissa) * 2**31)
    nudge = np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    high = np.trunc((product + nudge) / 2**31).astype(np.int64)
    shift = -int(exponent)
    remainder = high & ((1 << shift) - 1)
    threshold = ((1 << shift) - 1 >> 1) + (high < 0)
    return (high >> shift) + (remainder > threshold)


def test_the_reference_kernels_differ_by_rounding_twice_and_by_nothing_else() -> None:
    """With few bits the sums are small, the shift too, and the first rounding is coarse.

    Fractions from 3/8 on go up.
    """
    graph = Graph()
    x = graph.input("x", ["N", 8, 6, 6], U4)
    weights = np.random.default_rng(0).integers(-7, 8, (16, 8, 1, 1)).astype(np.int8)
    multiplier = 0.137
    scale = np.array(multiplier, np.float32)  # input and output share their scale
    graph.op(
        "Conv", [x, graph.stored("w", weights, scale)], "y", U4, relu=True, kernel_shape=[1, 1]
    )
    values = np.random.default_rng(1).uniform(0, 15 * U4.scale, (8, 8, 6, 6)).astype(np.float32)
    integers = onnx_integers(
        graph.proto("y_dequantized"), {"x": values}, ["x_quantized", "y_quantized"]
    )
    op = read_qdq(graph.output()).ops[0]
    difference = lsb_of(
        op, {"x": integers["x_quantized"], "y": integers["y_quantized"]}, "reference"
    ).transpose(0, 3, 1, 2)
    sums = np.einsum(
        "oc,nchw->nohw", weights[:, :, 0, 0].astype(int), integers["x_quantized"].astype(int)
    )
    exact_multiplier = float(np.float32(U4.scale)) * float(scale) / float(np.float32(U4.scale))
    np.testing.assert_array_equal(
        np.clip(twice_rounded(sums, exact_multiplier), 0, 15), integers["y_quantized"] + difference
    )
    assert 0.01 < (difference == 1).mean() < 0.1
    fractions = (sums * exact_multiplier % 1)[difference != 0]
    assert fractions.min() >= 0.374
    assert fractions.max() <= 0.5


def test_sums_that_overflow_when_they_are_scaled_up_are_refused() -> None:
    """The kernels shift them to the left first, in 32 bits, and say nothing."""
    graph = stored_weights(np.full((2, 64, 3, 3), 100, np.int8), scale=1e3)
    with pytest.raises(ArtefactError, match="the sums of channels 0, 1 may not fit 32 bits"):
        exporter.export(graph.output(), ExportOptions())


def _normalized(scale: float) -> Graph:
    graph = Graph()
    source = graph.input("x", ["N", 6, 9, 9], Grid(0.5, clip=(0, 15)))
    graph.normalized(source, "y", 6, Grid(scale, 73))
    return graph


@pytest.mark.parametrize("kernels", sorted(KERNELS))
def test_a_normalisation_onto_the_finest_grid_that_is_taken_is_within_one_step(
    kernels: str,
) -> None:
    (op,) = read_qdq(_normalized(1.0).output()).ops
    assert op.norm is not None
    finest = 2 * op.norm.bias_error * 1.001
    assert 0.5 / finest > 50
    for name, found in differences(_normalized(finest), kernels, spread=4.0, samples=16).items():
        assert np.abs(found).max() <= 1, name


def test_a_normalisation_whose_shift_would_be_off_is_refused_with_the_reason() -> None:
    with pytest.raises(ArtefactError, match="off by more than half a step") as caught:
        exporter.export(_normalized(0.001).output(), ExportOptions())
    assert "quantise its input more finely" in str(caught.value)
