"""The affine grid: ranges, rounding, saturation, and the round trip that nothing may break."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeq.quant import STORAGE_RANGE, QuantizedTensor, QuantParams

scales = st.floats(2.0**-40, 2.0**20, width=32)
reals = st.floats(-(2.0**30), 2.0**30, width=32)
arrays = hnp.arrays(np.float32, hnp.array_shapes(max_dims=4, max_side=4), elements=reals)
storage_dtypes = st.sampled_from(["int8", "uint8", "int16", "uint16", "int4", "uint4"])


@given(scales, storage_dtypes, st.data())
def test_integers_survive_the_round_trip(
    scale: float, activation_dtype: str, data: st.DataObject
) -> None:
    low, high = STORAGE_RANGE[activation_dtype]
    zero = data.draw(st.integers(low, high))
    params = QuantParams.of(scale, zero, activation_dtype)
    every = (
        np.arange(low, high + 1)
        if high - low < 300
        else np.linspace(low, high, 300).astype(np.int64)
    )
    assert np.array_equal(params.quantize(params.dequantize(every)), every)


@given(arrays, scales, storage_dtypes)
def test_error_is_at_most_half_a_step_inside_and_saturation_outside(
    x: np.ndarray, scale: float, activation_dtype: str
) -> None:
    params = QuantParams.of(scale, dtype=activation_dtype)
    q = params.quantize(x).astype(np.int64)
    assert q.min() >= params.qmin
    assert q.max() <= params.qmax
    position = x.astype(np.float64) / np.float32(scale)
    assert (
        np.abs(np.clip(position, params.qmin, params.qmax) - q) <= 0.5 + np.abs(position) * 2.0**-23
    ).all()


def test_ties_go_to_the_even_integer() -> None:
    params = QuantParams.of(1.0)
    assert params.quantize(np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])).tolist() == [
        -2,
        -2,
        0,
        0,
        2,
        2,
    ]


def test_the_zero_point_is_added_after_rounding() -> None:
    """Half to even of x / scale, not of the shifted integer.

    With an odd zero point the two differ.
    """
    params = QuantParams.of(1.0, 1, "uint8")
    assert params.quantize(np.array([0.5, 1.5])).tolist() == [1, 3]


def test_narrow_ranges_saturate_at_their_own_ends() -> None:
    params = QuantParams.of(0.5, 0, "uint8", 0, 15)
    assert params.quantize(np.array([-9.0, 7.4, 99.0])).tolist() == [0, 15, 15]
    assert (params.bits, params.is_sub_range) == (4, True)
    assert (QuantParams.of(0.5).bits, QuantParams.of(0.5).is_sub_range) == (8, False)
    assert QuantParams.of(0.5, 0, "int8", -7, 7).bits == 4


def test_one_scale_a_channel() -> None:
    params = QuantParams.of(np.array([1.0, 10.0], np.float32), 0, "int8", axis=1)
    x = np.full((1, 2, 1, 1), 30.0, np.float32)
    assert params.quantize(x).ravel().tolist() == [30, 3]
    assert params.dequantize(params.quantize(x)).ravel().tolist() == [30.0, 30.0]
    assert params.zero_point.shape == (2,)


def test_equality_is_by_value() -> None:
    per_channel = np.array([1.0, 2.0], np.float32)
    assert QuantParams.of(per_channel, axis=0) == QuantParams.of(per_channel.copy(), axis=0)
    base = QuantParams.of(0.5, 3, "uint8", 0, 15)
    assert base == QuantParams.of(0.5, 3, "uint8", 0, 15)
    others = [
        QuantParams.of(np.nextafter(np.float32(0.5), np.float32(1)), 3, "uint8", 0, 15),
        QuantParams.of(0.5, 4, "uint8", 0, 15),
        QuantParams.of(0.5, 3, "int8", 0, 15),
        QuantParams.of(0.5, 3, "uint8", 1, 15),
        QuantParams.of(0.5, 3, "uint8", 0, 14),
        QuantParams.of(0.5, 3, "uint8", 0, 15, 0),
    ]
    assert all(base != other for other in others)
    assert base != "a grid"
    with pytest.raises(TypeError, match="unhashable"):
        hash(base)


def test_levels_are_equal_in_every_storage_dtype() -> None:
    values = np.array([[0, 5, 15]])
    unsigned = QuantizedTensor(values.astype(np.uint8), QuantParams.of(0.25, 0, "uint8"))
    signed = QuantizedTensor((values - 128).astype(np.int8), QuantParams.of(0.25, -128, "int8"))
    high = QuantizedTensor((values + 112).astype(np.int8), QuantParams.of(0.25, 112, "int8"))
    assert (
        unsigned.centered().tolist()
        == signed.centered().tolist()
        == high.centered().tolist()
        == [[0, 5, 15]]
    )
    assert np.array_equal(unsigned.dequantize(), high.dequantize())
    assert unsigned.dequantize().dtype == np.float32


def test_levels_with_one_zero_point_a_channel() -> None:
    params = QuantParams.of(np.array([1.0, 1.0], np.float32), np.array([1, 2]), "int8", axis=1)
    assert QuantizedTensor(np.zeros((1, 2), np.int8), params).centered().tolist() == [[-1, -2]]


def test_integers_beyond_a_bytes_sum_are_not_wrapped() -> None:
    params = QuantParams.of(1.0, 127, "int8")
    assert params.dequantize(np.array([-128], np.int8)).tolist() == [-255.0]


def test_int4_is_held_in_a_byte() -> None:
    assert QuantParams.of(1.0, dtype="int4").quantize(np.array([9.0])).dtype == np.int8
    assert QuantParams.of(1.0, dtype="uint4").quantize(np.array([99.0])).tolist() == [15]
