"""gemmlowp's fixed-point functions, of which TFLite's sigmoid, tanh and softmax are made.

Numbers are int64 arrays that hold int32 raws; a number with ``n`` integer bits stands for
``raw * 2**(n - 31)``. The constants and the order of operations are those of gemmlowp's
``fixedpoint.h`` (Jacob et al., "Quantization and training of neural networks for efficient
integer-arithmetic-only inference", 2018, is computed with it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from edgeq.numerics.multipliers import quantize_multiplier

if TYPE_CHECKING:
    from numpy.typing import NDArray

Raw: TypeAlias = "NDArray[np.int64]"

_MOST, _LEAST = 2**31 - 1, -(2**31)
ONE = _MOST  # with no integer bits
_TWO_BITS_ONE = 1 << 29  # with two
_EXP_EIGHTH, _THIRD, _EIGHTH = 1895147668, 715827883, 1 << 28
_EXP_POWERS = (
    (-2, 1672461947),
    (-1, 1302514674),
    (0, 790015084),
    (1, 290630308),
    (2, 39332535),
    (3, 720401),
    (4, 242),
)
_48_OVER_17, _NEG_32_OVER_17 = 1515870810, -1010580540


def product(a: Raw, b: Raw | int) -> Raw:
    """The high half of the doubled product, rounded to nearest, ties up.

    Both factors -1 saturate.
    """
    high: Raw = np.minimum((a * b + (1 << 30)) >> 31, _MOST)
    return high


def divided(x: Raw, bits: int | Raw) -> Raw:
    """``x / 2**bits``, ties away from zero."""
    half = (np.int64(1) << np.asarray(bits, np.int64)) >> 1
    return (x + half - ((x < 0) & (half > 0))) >> bits


def scaled(x: Raw, bits: int) -> Raw:
    """``x * 2**bits``, saturating to the left, rounding to the right."""
    return np.clip(x << bits, _LEAST, _MOST) if bits >= 0 else divided(x, -bits)


def rescaled(x: Raw, real: float) -> Raw:
    """TFLite's ``MultiplyByQuantizedMultiplier`` of int32 numbers."""
    factor = quantize_multiplier(real)
    shifted = (x << max(factor.shift, 0)).astype(np.int32).astype(np.int64)
    return divided(product(shifted, factor.mantissa), max(-factor.shift, 0))


def exp_of_negative(a: Raw, integer_bits: int) -> Raw:
    """``exp(a)`` for ``a <= 0``; the result has no integer bits."""
    fraction = 31 - integer_bits
    quarter = 1 << (fraction - 2)
    below = (a & (quarter - 1)) - quarter
    result = _exp_near_zero(scaled(below, integer_bits))
    remainder = below - a
    for exponent, factor in _EXP_POWERS:
        if integer_bits > exponent:
            result = np.where(
                remainder & (1 << (fraction + exponent)), product(result, factor), result
            )
    if integer_bits > 5:
        result = np.where(a < -(1 << (fraction + 5)), 0, result)
    return np.where(a == 0, ONE, result)


def _exp_near_zero(a: Raw) -> Raw:
    """``exp(a)`` on ``[-1/4, 0)``, by Taylor at -1/8."""
    x = a + _EIGHTH
    square = product(x, x)
    cube, fourth = product(square, x), product(square, square)
    tail = divided(product(divided(fourth, 2) + cube, _THIRD) + square, 1)
    return _EXP_EIGHTH + product(x + tail, _EXP_EIGHTH)


def _newton(a: Raw) -> Raw:
    """``2 / (1 + a)`` for ``0 <= a <= 1``, with two integer bits, by Newton and Raphson."""
    total = a + ONE
    # gemmlowp's RoundingHalfSum; the sum is never negative here
    half = (total + np.where(total >= 0, 1, -1)) // 2
    x = _48_OVER_17 + product(half, _NEG_32_OVER_17)
    for _ in range(3):
        x = x + scaled(product(x, _TWO_BITS_ONE - product(half, x)), 2)
    return x


def one_over_one_plus(a: Raw) -> Raw:
    """``1 / (1 + a)`` for ``0 <= a <= 1``; no integer bits."""
    return scaled(_newton(a), 1)


def logistic(a: Raw, integer_bits: int) -> Raw:
    """``1 / (1 + exp(-a))``; no integer bits."""
    positive = one_over_one_plus(exp_of_negative(-np.abs(a), integer_bits))
    return np.where(a == 0, 1 << 30, np.where(a > 0, positive, ONE - positive))


def tanh(a: Raw, integer_bits: int) -> Raw:
    """``tanh(a)``; no integer bits."""
    size = scaled(_newton(exp_of_negative(-np.abs(a), integer_bits + 1)) - _TWO_BITS_ONE, 2)
    return np.where(a == 0, 0, np.where(a < 0, -size, size))


def input_radius(integer_bits: int, left_shift: int, signed_bits: int = 31) -> int:
    """The largest input whose rescaled value still fits."""
    return int(
        np.floor(
            ((1 << integer_bits) - 1)
            * float(1 << (signed_bits - integer_bits))
            / float(1 << left_shift)
        )
    )


def leading_zeros(x: Raw) -> Raw:
    """Of positive 32-bit numbers."""
    return 32 - np.frexp(x.astype(np.float64))[1].astype(np.int64)
