"""Bounds on sums are attained: no smaller accumulator would do."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.linting.layer_bounds import (
    dead_channels,
    least_bits,
    pair_bounds,
    still_channels,
    sum_bounds,
)
from edgeq.linting.model import LintLayer
from edgeq.quant import QuantParams


def layer(
    seed: int, *, low: int = 0, high: int = 255, zero: int = 3, scale: float = 1.0
) -> LintLayer:
    """Five taps and four channels, with biases, on an uint8 input."""
    random = np.random.default_rng(seed)
    return LintLayer(
        "dense",
        "Gemm",
        QuantParams.of(0.5, zero, "uint8", low, high),
        random.integers(-127, 128, (4, 5)),
        QuantParams.of(0.01, 0, "int8"),
        bias=random.integers(-(10**5), 10**5, 4),
        result=QuantParams.of(scale, 0, "int8"),
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 3), st.integers(3, 255))
def test_no_sum_leaves_its_bounds_and_one_attains_each(seed: int, low: int, high: int) -> None:
    found = layer(seed, low=low, high=high)
    assert found.weights is not None
    assert found.bias is not None
    sums = sum_bounds(found)
    assert sums is not None
    ends = np.array([low, high]) - 3
    largest = np.where(found.weights > 0, ends[1], ends[0])
    assert np.array_equal((found.weights * largest).sum(1) + found.bias, sums.largest)
    smallest = np.where(found.weights > 0, ends[0], ends[1])
    assert np.array_equal((found.weights * smallest).sum(1) + found.bias, sums.smallest)
    inputs = np.random.default_rng(seed).integers(low, high + 1, (64, 5)) - 3
    partial = np.cumsum(inputs[:, None] * found.weights, axis=2)
    for met in (partial, partial + found.bias[:, None]):
        assert (met >= sums.lowest[:, None]).all()
        assert (met <= sums.highest[:, None]).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(-(2**40), 0), st.integers(0, 2**40))
def test_a_width_holds_its_range_and_no_smaller_one_does(low: int, high: int) -> None:
    bits = least_bits(low, high)
    assert -(2 ** (bits - 1)) <= low
    assert high < 2 ** (bits - 1)
    assert bits == 1 or low < -(2 ** (bits - 2)) or high >= 2 ** (bits - 2)


def test_channels_are_counted_by_the_width_that_they_need() -> None:
    sums = sum_bounds(layer(0))
    assert sums is not None
    assert [sums.channels_beyond(bits) for bits in (8, sums.bits - 1, sums.bits)][::2] == [4, 0]
    assert sums.channels_beyond(sums.bits - 1) > 0


def test_a_layer_in_float_has_no_bounds() -> None:
    nothing = LintLayer("float", "Conv")
    assert sum_bounds(nothing) is None
    assert pair_bounds(nothing) is None
    assert still_channels(nothing) is None
    assert dead_channels(nothing) == 0


def test_a_channel_that_no_input_moves_is_dead() -> None:
    assert dead_channels(layer(1)) == 0
    assert dead_channels(layer(1, scale=1e6)) == 4
