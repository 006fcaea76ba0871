"""Real factors as the integers that TensorFlow Lite's kernels multiply with.

A mantissa in Q31 and a shift.

Whether a product of scales is taken in single or in double precision differs between kernels and
decides the last bits of the mantissa, so each kind of factor is computed here as its kernel
computes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Q31 = 2**31
_LEAST_SHIFT = -31
# bits by which ADD and SUB move their 8-bit operands to the left before they rescale them
ADD_HEADROOM = 20


@dataclass(frozen=True, slots=True)
class Multiplier:
    """A real factor ``mantissa * 2**(shift - 31)``.

    Attributes:
        mantissa: int32, from 2**30 on unless it is 0.
        shift: positive to the left.
    """

    mantissa: int
    shift: int


def quantize_multiplier(real: float) -> Multiplier:
    """The nearest mantissa and shift, ties away from zero; what is below 2**-32 is 0."""
    fraction, shift = math.frexp(real)
    mantissa = math.floor(fraction * _Q31 + 0.5)
    if mantissa == _Q31:
        mantissa, shift = mantissa // 2, shift + 1
    return Multiplier(0, 0) if real == 0 or shift < _LEAST_SHIFT else Multiplier(mantissa, shift)


def convolution_multipliers(
    source: np.float32, weights: NDArray[np.float32], output: np.float32
) -> list[Multiplier]:
    """The factor of each output channel of a convolution: ``source * weights / output``."""
    return [quantize_multiplier(float(source) * float(scale) / float(output)) for scale in weights]


def dense_multipliers(
    source: np.float32, weights: NDArray[np.float32], output: np.float32
) -> list[Multiplier]:
    """The factors of a fully connected layer.

    With one scale a tensor the product of scales is rounded to float32.
    """
    if weights.size > 1:
        return convolution_multipliers(source, weights, output)
    return [quantize_multiplier(float(np.float32(source * weights[0])) / float(output))]


def sum_multipliers(
    first: np.float32, second: np.float32, output: np.float32, headroom_bits: int = ADD_HEADROOM
) -> tuple[Multiplier, Multiplier, Multiplier]:
    """The factors of ADD and SUB: of the first operand, of the second, and of their sum."""
    twice = 2 * max(float(first), float(second))
    headroom = 1 << headroom_bits
    return (
        quantize_multiplier(float(first) / twice),
        quantize_multiplier(float(second) / twice),
        quantize_multiplier(twice / (headroom * float(output))),
    )


def product_multiplier(first: np.float32, second: np.float32, output: np.float32) -> Multiplier:
    """The factor of MUL, computed in float32."""
    return quantize_multiplier(float(np.float32(np.float32(first * second) / output)))


def mean_multiplier(source: np.float32, output: np.float32, count: int) -> Multiplier:
    """The factor of MEAN over ``count`` elements.

    The division by them is rounded down into the mantissa.
    """
    whole = quantize_multiplier(float(source) / float(output))
    shift = min(count.bit_length() - 1, 32, 31 + whole.shift)
    return Multiplier((whole.mantissa << shift) // count, whole.shift - shift)
