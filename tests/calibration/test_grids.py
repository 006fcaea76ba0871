"""Grids hold the range they are made for, keep zero exact, and never overflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq.calibration.grids import (
    MAX_BIAS,
    MIN_STEP,
    activation_grid,
    affine_parameters,
    integer_parameters,
)
from edgeq.errors import ArtefactError
from edgeq.network.placement import GridSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

ends = st.floats(-1e9, 1e9, width=32)


@given(ends, ends, st.integers(2, 8))
def test_a_signed_grid_holds_its_range_to_half_a_step_and_zero_exactly(
    a: float, b: float, bits: int
) -> None:
    low, high = min(a, b), max(a, b)
    grid = activation_grid(GridSpec("t", bits, signed=True, inner=True), low, high)
    assert (grid.dtype, grid.qmin, grid.qmax) == ("uint8", 0, 2**bits - 1)
    assert grid.qmin <= int(grid.zero_point) <= grid.qmax
    assert grid.dequantize(grid.quantize(np.zeros(1))) == 0.0
    values = np.clip(np.array([low, high], np.float32), min(low, 0.0), None)
    error = np.abs(grid.dequantize(grid.quantize(values)) - values)
    assert (error <= 0.5 * float(grid.scale) * (1 + 1e-5)).all()


@given(st.floats(0, 1e9, width=32), st.integers(2, 8))
def test_an_unsigned_grid_begins_at_zero_and_ends_at_the_range(high: float, bits: int) -> None:
    grid = activation_grid(GridSpec("t", bits, signed=False, inner=True), 0.0, high)
    assert int(grid.zero_point) == 0
    if high / (2**bits - 1) >= MIN_STEP:
        assert float(grid.scale) * (2**bits - 1) == pytest.approx(high, rel=1e-6)


@pytest.mark.parametrize("signed", [True, False])
def test_a_dead_tensor_has_the_grid_of_zero_to_one(signed: bool) -> None:
    grid = activation_grid(GridSpec("t", 8, signed, inner=True), 0.0, 0.0)
    assert grid.scale == np.float32(1 / 255)
    assert int(grid.zero_point) == 0


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_are_within_half_a_step_and_symmetric(bits: int, per_channel: bool) -> None:
    rng = np.random.default_rng(bits)
    weight = (rng.normal(size=(6, 4, 3, 3)) * np.logspace(-2, 2, 6)[:, None, None, None]).astype(
        np.float32
    )
    bias = rng.normal(size=6).astype(np.float32)
    made = integer_parameters(
        weight, bias, np.array(0.02, np.float32), bits=bits, per_channel=per_channel, layer="l"
    )
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
    made = integer_parameters(
        weight, bias, np.array(1e-3, np.float32), bits=8, per_channel=per_channel, layer="l"
    )
    assert made.bias is not None
    assert np.abs(made.bias.values.astype(np.int64)).max() <= MAX_BIAS
    np.testing.assert_allclose(made.bias.dequantize(), bias, rtol=1e-4)
    assert (
        made.weight.dequantize() <= np.abs(weight).max() + made.weight.params.scale.max() / 2
    ).all()


def test_a_dead_channel_takes_the_coarsest_scale_of_its_layer() -> None:
    weight = np.array([[0.0, 0.0], [0.5, -1.0], [0.1, 0.0]], np.float32)
    made = integer_parameters(
        weight, None, np.array(0.1, np.float32), bits=8, per_channel=True, layer="l"
    )
    assert made.bias is None
    assert made.weight.params.scale[0] == made.weight.params.scale[1]
    assert made.weight.values[0].tolist() == [0, 0]


def test_a_layer_beyond_float32_is_refused_by_name() -> None:
    weight, bias = np.full((2, 2), 1e37, np.float32), np.ones(2, np.float32)
    with pytest.raises(ArtefactError, match="'monster' computes beyond float32"):
        integer_parameters(
            weight, bias, np.array(1e30, np.float32), bits=8, per_channel=True, layer="monster"
        )


def min_first(x: NDArray[np.float32]) -> list[Any]:
    """TensorFlow's formula as it is written down: R(x 255 / (M - m)) - R(m 255 / (M - m)), with R half away from zero."""
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    of_weights, of_least = (
        np.trunc(v * 255 / (high - low) + np.copysign(0.5, v))
        for v in (x.astype(np.float64), np.float64(low))
    )
    return list(np.clip(of_weights - of_least, 0, 255).tolist())


@pytest.mark.parametrize("shift", [-3.0, -1.0, 0.0, 1.0, 3.0])
def test_affine_weights_are_those_of_min_first(shift: float) -> None:
    weight = (np.random.default_rng(3).normal(size=(8, 4, 3, 3)) + shift).astype(np.float32)
    made = affine_parameters(weight, None, np.array(0.02, np.float32), bits=8, layer="l")
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
    made = affine_parameters(weight, bias, np.array(0.02, np.float32), bits=bits, layer="l")
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
    made = affine_parameters(
        np.full((3, 2), weights, np.float32), bias, np.array(1e-3, np.float32), bits=8, layer="l"
    )
    assert made.bias is not None
    assert np.abs(made.bias.values.astype(np.int64)).max() <= MAX_BIAS
    np.testing.assert_allclose(made.bias.dequantize(), bias, rtol=1e-4)
