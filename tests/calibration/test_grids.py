"""Grids hold the range they are made for, and keep zero exact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq.calibration.grids import MIN_STEP, activation_grid
from edgeq.network.placement import GridSpec

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
