"""Integer weights and biases are within half a step of their floats, and never overflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeq.calibration.layer_parameters import MAX_BIAS, quantize_layer
from edgeq.calibration.weight_methods import WEIGHT_METHODS
from edgeq.calibration.weight_methods.layer import FloatLayer
from edgeq.errors import ArtefactError
from edgeq.qdq.ort_x86.saturation import in_kernel_order, neighbours

if TYPE_CHECKING:
    from numpy.typing import NDArray

SYMMETRIC, AFFINE = (WEIGHT_METHODS.load(name) for name in ("symmetric", "affine"))


def layer(
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    *,
    input_scale: float = 0.02,
    bits: int = 8,
    per_channel: bool = True,
) -> FloatLayer:
    return FloatLayer("conv", weight, bias, np.array(input_scale, np.float32), bits, per_channel)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_are_within_half_a_step_and_symmetric(bits: int, per_channel: bool) -> None:
    rng = np.random.default_rng(bits)
    weight = (rng.normal(size=(6, 4, 3, 3)) * np.logspace(-2, 2, 6)[:, None, None, None]).astype(
        np.float32
    )
    bias = rng.normal(size=6).astype(np.float32)
    made = quantize_layer(layer(weight, bias, bits=bits, per_channel=per_channel), SYMMETRIC)
    qmax = 2 ** (bits - 1) - 1
    assert np.abs(made.weight.values).max() == qmax
    assert made.weight.params.scale.shape == ((6,) if per_channel else ())
    scale = made.weight.params.scale.reshape(-1, 1, 1, 1)
    assert (np.abs(made.weight.dequantize() - weight) <= 0.5001 * scale).all()
    assert made.bias is not None
    assert (
        made.bias.params.scale.tobytes()
        == (np.float32(0.02) * made.weight.params.scale).astype(np.float32).tobytes()
    )
    assert (
        np.abs(made.bias.dequantize() - bias)
        <= 0.5001 * made.bias.params.scale + 1e-6 * np.abs(bias)
    ).all()


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("weights", [0.0, 1e-30, 1e-12, 1e-6])
def test_a_bias_that_dwarfs_its_weights_does_not_overflow(
    weights: float, per_channel: bool
) -> None:
    weight = np.full((3, 2, 1, 1), weights, np.float32)
    bias = np.array([1e4, -1e4, 0.0], np.float32)
    made = quantize_layer(layer(weight, bias, input_scale=1e-3, per_channel=per_channel), SYMMETRIC)
    assert made.bias is not None
    assert np.abs(made.bias.values.astype(np.int64)).max() <= MAX_BIAS
    np.testing.assert_allclose(made.bias.dequantize(), bias, rtol=1e-4)
    assert (
        made.weight.dequantize() <= np.abs(weight).max() + made.weight.params.scale.max() / 2
    ).all()


def test_a_dead_channel_takes_the_coarsest_scale_of_its_layer() -> None:
    weight = np.array([[0.0, 0.0], [0.5, -1.0], [0.1, 0.0]], np.float32)
    made = quantize_layer(layer(weight, None), SYMMETRIC)
    assert made.bias is None
    assert made.weight.params.scale[0] == made.weight.params.scale[1]
    assert made.weight.values[0].tolist() == [0, 0]


def test_a_layer_beyond_float32_is_refused_by_name() -> None:
    weight, bias = np.full((2, 2), 1e37, np.float32), np.ones(2, np.float32)
    with pytest.raises(ArtefactError, match="'conv' computes beyond float32"):
        quantize_layer(layer(weight, bias, input_scale=1e30), SYMMETRIC)


def min_first(x: NDArray[np.float32]) -> list[Any]:
    """TensorFlow's ``R(x 255 / (M - m)) - R(m 255 / (M - m))``, R half away from zero."""
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    of_weights, of_least = (
        np.trunc(v * 255 / (high - low) + np.copysign(0.5, v))
        for v in (x.astype(np.float64), np.float64(low))
    )
    return list(np.clip(of_weights - of_least, 0, 255).tolist())


@pytest.mark.parametrize("shift", [-3.0, -1.0, 0.0, 1.0, 3.0])
def test_affine_weights_are_those_of_min_first(shift: float) -> None:
    weight = (np.random.default_rng(3).normal(size=(8, 4, 3, 3)) + shift).astype(np.float32)
    made = quantize_layer(layer(weight, None), AFFINE)
    assert made.weight.values.dtype == np.uint8
    assert made.weight.params.scale.shape == ()
    assert made.weight.values.tolist() == min_first(weight)
    assert made.weight.params.dequantize(made.weight.params.zero_point) == 0.0
    span = max(float(weight.max()), 0.0) - min(float(weight.min()), 0.0)
    assert float(made.weight.params.scale) == pytest.approx(span / 255, rel=1e-6)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_affine_weights_of_few_bits_stay_within_their_levels(bits: int) -> None:
    weight = np.random.default_rng(bits).normal(0.3, size=(6, 5)).astype(np.float32)
    bias = np.linspace(-1, 1, 6, dtype=np.float32)
    made = quantize_layer(layer(weight, bias, bits=bits), AFFINE)
    assert (made.weight.values.min(), made.weight.values.max()) == (0, 2**bits - 1)
    assert (
        np.abs(made.weight.dequantize() - weight) <= 1.001 * float(made.weight.params.scale)
    ).all()
    assert made.bias is not None
    assert made.bias.params.scale == np.float32(0.02) * made.weight.params.scale
    assert (
        np.abs(made.bias.dequantize() - bias) <= 0.5001 * float(made.bias.params.scale) + 1e-6
    ).all()


@pytest.mark.parametrize("weights", [0.0, 1e-30, 1e-6])
def test_a_bias_that_dwarfs_affine_weights_does_not_overflow(weights: float) -> None:
    bias = np.array([1e4, -1e4, 0.0], np.float32)
    made = quantize_layer(
        layer(np.full((3, 2), weights, np.float32), bias, input_scale=1e-3), AFFINE
    )
    assert made.bias is not None
    assert np.abs(made.bias.values.astype(np.int64)).max() <= MAX_BIAS
    np.testing.assert_allclose(made.bias.dequantize(), bias, rtol=1e-4)


@pytest.mark.parametrize("per_channel", [True, False])
def test_floor_rounds_down_and_stays_pair_safe(per_channel: bool) -> None:
    weight = np.random.default_rng(2).normal(size=(6, 4, 3, 3)).astype(np.float32)
    floor = WEIGHT_METHODS.load("floor")
    for limit in (None, 128):
        given = FloatLayer(
            "conv", weight, None, np.array(0.02, np.float32), 8, per_channel, pair_limit=limit
        )
        made = quantize_layer(given, floor).weight
        step = made.params.broadcast(4)[0]
        off = (weight - made.dequantize()) / step
        assert -1e-4 <= off.min() <= off.max() <= 1.0001
        assert 0.45 < off.mean() < 0.55
        if limit is not None:
            rows = np.maximum(-in_kernel_order(made.values.astype(np.int32)), 0)
            assert np.add(*neighbours(rows)).max() <= limit
