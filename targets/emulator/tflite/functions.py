"""Unary elementwise functions and normalisations, as TFLite's reference kernels compute them.

Levels to levels.

Each is written after the kernel of that name in LiteRT's ``reference_ops`` and
``reference_integer_ops``; some round in integers by gemmlowp, some look up a float32 table. What is
not known to the last bit is not here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeq.numerics.multipliers import quantize_multiplier
from edgeq.targets.emulator.tflite import fixed_point as fp

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgeq.quant import QuantParams

    Centered = NDArray[np.int64]
    Function = Callable[[Centered], Centered]

_INPUT_BITS = 4
_SCALED_DIFF_BITS, _SUM_BITS = 5, 12


def clipped(centered: Centered, output: QuantParams) -> Centered:
    """Levels within the range of a grid."""
    zero = int(output.zero_point)
    return np.clip(centered, output.qmin - zero, output.qmax - zero)


def saturating(
    source: QuantParams,
    output: QuantParams,
    function: Callable[[Centered, int], Centered],
    out_bits: int,
) -> Function:
    """LOGISTIC and TANH on 8 bits.

    A fixed-point function with four integer bits, and the ends of the output beyond them.
    """
    real = float(source.scale) * 2.0 ** (31 - _INPUT_BITS)
    shift = math.frexp(real)[1]
    radius = fp.input_radius(_INPUT_BITS, shift)
    zero = int(output.zero_point)

    def centered(x: Centered) -> Centered:
        inside = np.clip(x, -radius, radius)
        found = fp.divided(function(fp.rescaled(inside, real), _INPUT_BITS), 31 - out_bits)
        found = np.where(
            x <= -radius, output.qmin - zero, np.where(x >= radius, output.qmax - zero, found)
        )
        return clipped(found, output)

    return centered


def leaky_relu(source: QuantParams, output: QuantParams, alpha: float) -> Function:
    """LEAKY_RELU."""
    straight = float(np.float32(source.scale / output.scale))
    bent = float(np.float32(np.float32(source.scale * np.float32(alpha)) / output.scale))
    return lambda x: clipped(
        np.where(x >= 0, fp.rescaled(x, straight), fp.rescaled(x, bent)), output
    )


def looked_up(
    source: QuantParams,
    output: QuantParams,
    function: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> Function:
    """A function by a table that the kernel fills in float32, rounding ties away from zero."""

    def centered(x: Centered) -> Centered:
        reals = source.scale * x.astype(np.float32)
        ratio = function(reals) * (np.float32(1) / output.scale)
        return clipped(
            np.copysign(np.floor(np.abs(ratio) + np.float32(0.5)), ratio).astype(np.int64), output
        )

    return centered


def gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """GELU by the complementary error function, in float32."""
    at = x * np.float32(-math.sqrt(0.5))
    erfc = np.array([math.erfc(float(value)) for value in at.reshape(-1)], np.float32).reshape(
        x.shape
    )
    found: NDArray[np.float32] = (np.float32(0.5) * x * erfc).astype(np.float32)
    return found


def gelu_by_tanh(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """GELU's approximation by tanh, in float32."""
    cubic: NDArray[np.float32] = (x + np.float32(0.044715) * x * x * x).astype(np.float32)
    inner = (np.float32(2 / math.sqrt(math.pi)) * np.float32(math.sqrt(0.5)) * cubic).astype(
        np.float32
    )
    # rounded right, as C's is and numpy's own in float32 is not
    bend = np.tanh(inner.astype(np.float64)).astype(np.float32)
    found: NDArray[np.float32] = (np.float32(0.5) * x * (np.float32(1) + bend)).astype(np.float32)
    return found


def hard_swish(source: QuantParams, output: QuantParams) -> Function:
    """HARD_SWISH in 16 bits."""
    fine = np.float32(1 / 128) * source.scale
    out_factor, out_shift = _half_factor(float(np.float32(fine / output.scale)))
    gate_factor, gate_shift = _half_factor(float(np.float32(fine / np.float32(3 / 32768))))

    def centered(x: Centered) -> Centered:
        hires = x << 7
        preshift = _product16(hires, out_factor)
        gate = hires if gate_shift <= 0 else _saturated16(hires << (gate_shift - 1))
        gate = _product16(gate, gate_factor)
        gate = _saturated16(gate << 1) if gate_shift > 0 else fp.divided(gate, -gate_shift)
        gate = (gate + (1 << 15)) >> 1
        both = gate * preshift
        found = np.where(both >= 0, both >> 15, -((-both) >> 15))
        return clipped(fp.divided(found, -out_shift), output)

    return centered


def _half_factor(real: float) -> tuple[int, int]:
    """A factor with a mantissa of 16 bits."""
    whole = quantize_multiplier(real)
    return min((whole.mantissa + (1 << 15)) >> 16, 2**15 - 1), whole.shift


def _saturated16(x: Centered) -> Centered:
    kept: Centered = np.clip(x, -(2**15), 2**15 - 1)
    return kept


def _product16(a: Centered, b: int) -> Centered:
    high: Centered = np.minimum((a * b + (1 << 14)) >> 15, 2**15 - 1)
    return high


# ---- normalisations: over the last axis ----------------------------------------------------------


def softmax(source: QuantParams, output: QuantParams, beta: float) -> Function:
    """SOFTMAX of 8 bits to 8 or 16.

    Gemmlowp throughout, where the optimised kernels look exponentials up in float32.
    """
    real = min(beta * float(source.scale) * 2.0 ** (31 - _SCALED_DIFF_BITS), 2.0**31 - 1)
    radius = fp.input_radius(_SCALED_DIFF_BITS, math.frexp(real)[1])

    def centered(x: Centered) -> Centered:
        below = x - x.max(-1, keepdims=True)
        counts = below >= -radius
        powers = fp.exp_of_negative(
            fp.rescaled(np.maximum(below, -radius), real), _SCALED_DIFF_BITS
        )
        total = np.where(counts, fp.divided(powers, _SUM_BITS), 0).sum(-1, keepdims=True)
        headroom = fp.leading_zeros(total)
        reciprocal = fp.one_over_one_plus((total << headroom) - (1 << 31))
        found = fp.divided(fp.product(reciprocal, powers), _SUM_BITS - headroom + 31 - output.bits)
        return np.where(counts, np.minimum(found, 2**output.bits - 1), 0)

    return centered
