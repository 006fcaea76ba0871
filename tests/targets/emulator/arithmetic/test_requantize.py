"""Every rounding against exact rationals, the C that edgeq ships, and C by definition."""

from __future__ import annotations

import ctypes
import math
import subprocess
from fractions import Fraction
from importlib.resources import files
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeq.errors import TargetError
from edgeq.numerics.multipliers import quantize_multiplier
from edgeq.targets.emulator.arithmetic.numerics import Factors, OutputRange
from edgeq.targets.emulator.arithmetic.requantize import (
    held_error,
    high_product,
    power_of_two_shift,
    requantize,
    requantize_and_count,
    rescale,
    shift_right,
    to_one_scale,
)
from edgeq.targets.emulator.hardware.machine import Rounding

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INT32 = (-(2**31), 2**31 - 1)
VECTOR = (-(2**30), 2**30 - 1)  # Helium shifts to the left by one before it rounds once
sums = st.one_of(
    st.integers(*INT32), st.integers(-(2**16), 2**16), st.sampled_from([*INT32, 0, -1, 1])
)
scales = st.floats(2.0**-30, 0.999, allow_nan=False).map(lambda x: float(np.float32(x)))
factors_below_one = st.builds(lambda a, b, c: a * b / c, scales, scales, scales).filter(
    lambda x: 2.0**-30 < x < 1
)

ORACLE = r"""
#include <stdint.h>
#include "edgeq_kernels.h"

/* The definitions in gemmlowp's and Arm's documents, in our words. */
static int32_t gemmlowp_high(int32_t a, int32_t b) {
    if (a == INT32_MIN && b == INT32_MIN) return INT32_MAX;
    int64_t ab = (int64_t)a * b;
    int64_t nudge = ab >= 0 ? (1ll << 30) : 1 - (1ll << 30);
    return (int32_t)((ab + nudge) / (1ll << 31));
}
static int32_t gemmlowp_divide(int32_t x, int bits) {
    int32_t mask = (int32_t)((1ll << bits) - 1), remainder = x & mask;
    return (x >> bits) + (remainder > (mask >> 1) + (x < 0) ? 1 : 0);
}
static int32_t arm_high(int32_t a, int32_t b) {
    return (int32_t)((((int64_t)a * b) + (1 << 30)) >> 31);
}
/* the vector unit's way: VQADD of the sign, then VRSHL */
static int32_t helium_divide(int32_t x, int bits) {
    int64_t fixed = (int64_t)x + (bits > 0 && x < 0 ? -1 : 0);
    if (fixed < INT32_MIN) fixed = INT32_MIN;
    return bits ? (int32_t)((fixed + (1ll << (bits - 1))) >> bits) : (int32_t)fixed;
}
/* VQDMULH truncates, VRSHL rounds: how Helium rounds once */
static int32_t helium_once(int32_t x, int32_t m, int shift) {
    int right = shift < -1 ? -shift : 1, left = shift + right;
    int64_t product = ((int64_t)(int32_t)((uint32_t)x << left) * m) >> 31;
    return (int32_t)((product + (1ll << (right - 1))) >> right);
}
static int32_t scalar_once(int32_t x, int32_t m, int shift) {
    int64_t product = (int64_t)x * m;
    return (int32_t)(((product >> (30 - shift)) + 1) >> 1);
}
#define LEFT(s) ((s) > 0 ? (s) : 0)
#define RIGHT(s) ((s) > 0 ? 0 : -(s))
#define EACH(name, expression) \
    void name(const int32_t *xs, int32_t *out, int n, int32_t m, int s) { \
        for (int i = 0; i < n; ++i) { int32_t x = xs[i]; out[i] = (expression); } \
    }
EACH(edgeq_double, edgeq_rescale(x, m, s))
EACH(edgeq_once, edgeq_rescale_once(x, m, s))
EACH(tflite_double, gemmlowp_divide(gemmlowp_high((int32_t)((uint32_t)x << LEFT(s)), m), RIGHT(s)))
EACH(cmsis_double, gemmlowp_divide(arm_high((int32_t)((uint32_t)x << LEFT(s)), m), RIGHT(s)))
EACH(helium_double, helium_divide(arm_high((int32_t)((uint32_t)x << LEFT(s)), m), RIGHT(s)))
EACH(cmsis_once, scalar_once(x, m, s))
EACH(mve_once, helium_once(x, m, s))
static int32_t wide(int32_t x, int32_t m, int32_t s) {
    int32_t half = m >= 0x7FFF0000 ? 0x7FFF : (m + (1 << 15)) >> 16;
    return (int32_t)(((int64_t)x * half + (1ll << (14 - s))) >> (15 - s));
}
EACH(wide_once, wide(x, m, s))
EACH(high, gemmlowp_high(x, m))
"""
SAME_IN_C: list[tuple[str, Rounding]] = [
    ("edgeq_double", "double"),
    ("edgeq_once", "single-half-away"),
    ("tflite_double", "double"),
    ("cmsis_double", "double"),
    ("helium_double", "double"),
    ("cmsis_once", "single"),
    ("mve_once", "single"),
    ("wide_once", "wide"),
]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder: Path = tmp_path_factory.mktemp("rounding")
    (folder / "oracle.c").write_text(ORACLE)
    headers = str(files("edgeq.exporters.vectors") / "c")
    library = folder / "oracle.so"
    flags = ["-O2", "-fwrapv", "-shared", "-fPIC", "-w", f"-I{headers}"]
    subprocess.run(["gcc", *flags, "-o", str(library), str(folder / "oracle.c")], check=True)
    return ctypes.CDLL(str(library))


def in_c(
    oracle: ctypes.CDLL, name: str, values: np.ndarray, mantissa: int, shift: int
) -> np.ndarray:
    xs, out = np.ascontiguousarray(values, np.int32), np.empty(values.shape, np.int32)
    pointer = ctypes.POINTER(ctypes.c_int32)
    getattr(oracle, name)(
        xs.ctypes.data_as(pointer), out.ctypes.data_as(pointer), xs.size, mantissa, shift
    )
    return out


def rescaled(values: list[int], real: float, rounding: Rounding) -> list[int]:
    return [int(x) for x in rescale(torch.tensor(values), Factors.of(real), rounding)]


def floor(x: Fraction) -> int:
    return math.floor(x)


def half_up(x: Fraction) -> int:
    return math.floor(x + Fraction(1, 2))


def half_away(x: Fraction) -> int:
    return half_up(x) if x >= 0 else -half_up(-x)


EXACT: dict[str, Callable[[Fraction], int]] = {
    "up": half_up,
    "away": half_away,
    "even": round,
    "down": floor,
}
ONCE: list[tuple[Rounding, str]] = [("single", "up"), ("single-half-away", "away")]
SHIFTS: list[tuple[Rounding, str]] = [
    ("shift", "up"),
    ("shift-half-even", "even"),
    ("shift-half-away", "away"),
    ("shift-down", "down"),
]


@given(
    x=st.integers(-(2**62), 2**62 - 1), bits=st.integers(0, 61), ties=st.sampled_from(sorted(EXACT))
)
def test_a_rounding_shift_is_the_exact_quotient_rounded(x: int, bits: int, ties: str) -> None:
    got = shift_right(torch.tensor([x]), torch.tensor([bits]), ties)
    assert int(got) == EXACT[ties](Fraction(x, 2**bits))


@given(a=sums, b=sums)
def test_the_high_product_is_the_exact_product_with_ties_up_and_its_one_corner_saturates(
    a: int, b: int
) -> None:
    exact = half_up(Fraction(a * b, 2**31))
    assert int(high_product(torch.tensor([a]), torch.tensor([b]))) == min(exact, 2**31 - 1)
    assert (exact > 2**31 - 1) == (a == b == -(2**31))


def test_the_corner_of_the_high_product_is_the_greatest_integer_in_c_too(
    oracle: ctypes.CDLL,
) -> None:
    assert in_c(oracle, "high", np.array([-(2**31)]), -(2**31), 0)[0] == 2**31 - 1


@given(x=sums, real=factors_below_one)
def test_two_roundings_are_two_exact_roundings(x: int, real: float) -> None:
    held = quantize_multiplier(real)
    high = half_up(Fraction(x * held.mantissa, 2**31))
    right = Fraction(high, 2**-held.shift)
    assert rescaled([x], real, "double") == [half_away(right)]
    assert rescaled([x], real, "gemmlowp") == [half_up(right)]


@pytest.mark.parametrize(("rounding", "ties"), ONCE)
@given(x=sums, real=factors_below_one)
def test_one_rounding_is_the_exact_product_rounded_once(
    rounding: Rounding, ties: str, x: int, real: float
) -> None:
    held = quantize_multiplier(real)
    assert rescaled([x], real, rounding) == [
        EXACT[ties](Fraction(x * held.mantissa, 2 ** (31 - held.shift)))
    ]


@given(x=st.integers(-(2**47), 2**47 - 1), real=factors_below_one)
def test_sums_of_48_bits_meet_a_factor_of_15_bits(x: int, real: float) -> None:
    held = quantize_multiplier(real)
    reduced = min((held.mantissa + 2**15) >> 16, 2**15 - 1)
    assert rescaled([x], real, "wide") == [half_up(Fraction(x * reduced, 2 ** (15 - held.shift)))]
    assert abs(float(held_error(Factors.of(real), "wide"))) <= 2.0**-14


@pytest.mark.parametrize("rounding", ["double", "gemmlowp"])
@given(x=st.integers(-(2**22), 2**22), real=factors_below_one)
def test_floats_and_integers_round_twice_alike(rounding: Rounding, x: int, real: float) -> None:
    far = 2**30  # beside so great a sum all are rounded in int64
    assert rescaled([x], real, rounding)[0] == rescaled([x, far], real, rounding)[0]


@pytest.mark.parametrize(("rounding", "ties"), SHIFTS)
@given(x=sums, real=factors_below_one)
def test_a_shift_is_the_exact_quotient_by_the_nearest_power_of_two(
    rounding: Rounding, ties: str, x: int, real: float
) -> None:
    shift = int(power_of_two_shift(np.asarray(real)))
    assert rescaled([x], real, rounding) == [EXACT[ties](Fraction(x) * Fraction(2) ** shift)]


@given(real=factors_below_one)
def test_no_other_power_of_two_is_nearer(real: float) -> None:
    best = 2.0 ** int(power_of_two_shift(np.asarray(real)))
    assert all(abs(best - real) <= abs(other - real) for other in (best / 2, best * 2))
    error = float(held_error(Factors.of(real), "shift"))
    assert error == pytest.approx(best / real - 1)
    assert -1 / 3 - 1e-12 <= error <= 1 / 3 + 1e-12


@given(x=st.integers(-(2**31), 2**31 - 1), real=factors_below_one)
def test_a_real_factor_rounds_the_float_product_to_even(x: int, real: float) -> None:
    assert rescaled([x], real, "half-even") == [int(np.rint(np.float64(x) * np.float64(real)))]
    assert rescaled([x], real, "half-even-float32") == [
        int(np.rint(np.float32(x) * np.float32(real)))
    ]


@pytest.mark.parametrize(("function", "rounding"), SAME_IN_C)
def test_c_rounds_alike(oracle: ctypes.CDLL, function: str, rounding: Rounding) -> None:
    random = np.random.default_rng(0)
    for real in [*np.exp2(random.uniform(-20, -0.01, 40)), 0.5, 0.25, 2.0**-20, 0.75, 1 / 3]:
        held = quantize_multiplier(float(real))
        near_ties = np.rint(random.integers(-400, 400, 200) / 2 / real)
        values = np.concatenate(
            [
                random.integers(*INT32, 200),
                random.integers(-(2**14), 2**14, 200),
                near_ties,
                [0, 1, -1],
            ]
        )
        values = np.clip(values, *VECTOR if function == "mve_once" else INT32).astype(np.int64)
        expected = in_c(oracle, function, values, held.mantissa, held.shift)
        assert rescaled(values.tolist(), float(real), rounding) == expected.tolist()


@pytest.mark.parametrize(("function", "rounding"), SAME_IN_C)
def test_c_rounds_alike_with_factors_above_one(
    oracle: ctypes.CDLL, function: str, rounding: Rounding
) -> None:
    random = np.random.default_rng(1)
    for real in (1.0, 1.5, 3.999, 17.3, 1000.0):
        held = quantize_multiplier(real)
        values = random.integers(-(2**20), 2**20, 500)
        assert (
            rescaled(values.tolist(), real, rounding)
            == in_c(oracle, function, values, held.mantissa, held.shift).tolist()
        )


def test_a_shift_to_the_left_keeps_what_32_bits_keep(oracle: ctypes.CDLL) -> None:
    values = np.array([2**30, -(2**30) - 5, 2**31 - 1])
    held = quantize_multiplier(5.0)
    assert (
        rescaled(values.tolist(), 5.0, "double")
        == in_c(oracle, "tflite_double", values, held.mantissa, held.shift).tolist()
    )


def test_the_roundings_differ_where_they_are_said_to() -> None:
    tie = [-3, -1, 1, 3, 5]
    assert rescaled(tie, 0.5, "half-even") == [-2, 0, 0, 2, 2]
    assert rescaled(tie, 0.5, "single") == [-1, 0, 1, 2, 3]
    assert rescaled(tie, 0.5, "single-half-away") == [-2, -1, 1, 2, 3]
    assert rescaled(tie, 0.5, "shift-down") == [-2, -1, 0, 1, 2]
    # 0.99 / 64 of 32 is 31.68 / 64, below a half; its whole part is 32 / 64, a tie
    assert rescaled([32, -32], 0.99 / 64, "single") == [0, 0]
    assert rescaled([32, -32], 0.99 / 64, "double") == [1, -1]
    assert rescaled([32, -32], 0.99 / 64, "gemmlowp") == [1, 0]


@pytest.mark.parametrize("rounding", get_args(Rounding))
def test_one_factor_a_channel_is_each_channel_by_itself(rounding: Rounding) -> None:
    random = np.random.default_rng(2)
    real = np.exp2(random.uniform(-12, 1, 5))
    values = torch.from_numpy(random.integers(-(2**18), 2**18, (3, 5, 4, 4)))
    output_range = OutputRange(-3, -128, 127)
    side_by_side = requantize(values, Factors.of(real), output_range, rounding, axis=1)
    for channel in range(5):
        alone = requantize(
            values[:, channel], Factors.of(float(real[channel])), output_range, rounding
        )
        assert torch.equal(side_by_side[:, channel], alone)
    leading = requantize(values.movedim(1, 0), Factors.of(real), output_range, rounding, axis=0)
    assert torch.equal(leading.movedim(0, 1), side_by_side)


@pytest.mark.parametrize("rounding", get_args(Rounding))
def test_slices_change_nothing_and_the_input_stays(rounding: Rounding) -> None:
    values = torch.randint(
        -(2**20), 2**20, (37, 3, 50, 50), generator=torch.Generator().manual_seed(0)
    )
    before = values.clone()
    factors, output_range = Factors.of(np.array([1e-4, 0.3e-4, 0.7])), OutputRange(2, -100, 90)
    got = requantize(values, factors, output_range, rounding, axis=1)
    assert torch.equal(values, before)
    assert got.dtype == torch.float32
    whole = rescale(values, factors, rounding, axis=1) + output_range.zero_point
    assert torch.equal(got.to(torch.int64), whole.clamp(-100, 90).to(torch.int64))
    counted, clipped = requantize_and_count(values, factors, output_range, rounding, axis=1)
    assert torch.equal(counted, got)
    assert clipped == int(((whole < -100) | (whole > 90)).sum()) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int32, torch.int64])
@pytest.mark.parametrize("rounding", get_args(Rounding))
def test_the_type_of_the_sums_does_not_matter(dtype: torch.dtype, rounding: Rounding) -> None:
    values = torch.arange(-5000, 5000).to(dtype)
    expected = requantize(
        torch.arange(-5000, 5000), Factors.of(0.0137), OutputRange(0, -128, 127), rounding
    )
    assert torch.equal(
        requantize(values, Factors.of(0.0137), OutputRange(0, -128, 127), rounding), expected
    )


def test_an_empty_batch_and_a_single_number_are_tensors_too() -> None:
    assert requantize(
        torch.zeros((0, 4)), Factors.of(0.5), OutputRange(0, -8, 7), "double"
    ).shape == (0, 4)
    assert (
        float(requantize(torch.tensor(9), Factors.of(0.5), OutputRange(1, -8, 7), "single")) == 6.0
    )


def test_a_held_factor_is_as_near_as_its_bits_allow() -> None:
    factors = Factors.of(np.array([0.3, 1 / 7, 2.0**-9]))
    assert np.all(np.abs(held_error(factors, "double")) <= 2.0**-31)
    assert np.all(np.abs(held_error(factors, "half-even-float32")) <= 2.0**-24)
    assert not held_error(factors, "half-even").any()


def test_what_a_relu_takes_away_was_not_clipped() -> None:
    values = torch.tensor([-50.0, -3.0, 5.0, 300.0])
    assert (
        requantize_and_count(values, Factors.of(1.0), OutputRange(0, 0, 255), "half-even")[1] == 1
    )
    assert (
        requantize_and_count(values, Factors.of(1.0), OutputRange(0, -10, 255), "half-even")[1] == 2
    )
    assert (
        requantize_and_count(values, Factors.of(1.0), OutputRange(-128, -128, 127), "half-even")[1]
        == 1
    )


@given(
    seed=st.integers(0, 2**32 - 1),
    spread=st.floats(0, 8),
    bits=st.integers(2, 16),
)
def test_one_scale_for_all_channels_clips_nothing_and_is_off_by_half_a_step_at_most(
    seed: int, spread: float, bits: int
) -> None:
    random = np.random.default_rng(seed)
    weights = random.integers(-127, 128, (6, 4, 3))
    scales = np.exp2(random.uniform(-8 - spread, -8, 6)).astype(np.float32)
    moved, scale = to_one_scale(weights, scales, bits)
    real = weights * scales.astype(np.float64)[:, None, None]
    assert np.log2(scale) == np.rint(np.log2(scale))
    assert np.abs(moved).max() <= 2 ** (bits - 1) - 1
    assert np.abs(moved * scale - real).max() <= scale / 2
    if real.any():
        assert np.abs(real).max() > scale / 2 * (2 ** (bits - 1) - 1)


def test_weights_of_nothing_but_zeros_have_a_scale() -> None:
    moved, scale = to_one_scale(np.zeros((2, 3), np.int8), np.ones(2, np.float32), 8)
    assert not moved.any()
    assert scale == 1.0


def test_an_unknown_rounding_is_refused() -> None:
    rounding: Any = "upwards"
    with pytest.raises(TargetError, match="no rounding 'upwards'"):
        requantize(torch.zeros(2), Factors.of(0.5), OutputRange(0, 0, 1), rounding)
