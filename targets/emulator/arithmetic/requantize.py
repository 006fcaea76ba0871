"""From sums to the integers of an output: the roundings of the machines, over whole tensors.

All of them but the float ones are integer arithmetic, done here in int64, or in float64 where every
step of it is exact, which is twice as fast. Tensors are taken in slices that stay in a core's
cache, since each rounding is many passes.

Two facts are proved in the tests and used here. gemmlowp's ``SaturatingRoundingDoublingHighMul``
nudges negative products in another way than positive ones, which comes to the same as rounding
every tie up; so do Arm's ``VQRDMULH`` and CMSIS-NN's ``arm_nn_doubling_high_mult_no_sat``. And its
one saturating case, -2**31 times -2**31, cannot occur with a factor of ``quantize_multiplier``,
whose mantissa is positive.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgeq.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from edgeq.targets.emulator.arithmetic.numerics import Factors, OutputRange
    from edgeq.targets.emulator.hardware.machine import Rounding

_SLICE = 1 << 16  # numbers: 512 KiB of int64
_Q31, _Q15 = 31, 15
_SIGN = 63  # shifts an int64 to -1 or 0
# a sum this great times a Q31 mantissa, plus a half, fits the 53 bits of float64
_EXACT = 2**22 - 1
# moves ties of whole numbers below 2**40 off their tie, and nothing across one
_NUDGE = 1 + 2.0**-40


def requantize(
    sums: Tensor, factors: Factors, output_range: OutputRange, rounding: Rounding, axis: int = -1
) -> Tensor:
    """``clip(zero_point + round(sums * factor), low, high)``; a ``Requantize`` of ``numerics``."""
    result = torch.empty(sums.shape, dtype=torch.float32)
    for part, centered in _in_slices(sums, factors, rounding, axis):
        result[part] = centered.add_(output_range.zero_point).clamp_(
            output_range.low, output_range.high
        )
    return result


def requantize_and_count(
    sums: Tensor, factors: Factors, output_range: OutputRange, rounding: Rounding, axis: int = -1
) -> tuple[Tensor, int]:
    """What :func:`requantize` gives, and how many of the results were clipped.

    A lower bound at the zero point is a ReLU's, and what lies below it is meant to go; it is not
    counted.
    """
    result = torch.empty(sums.shape, dtype=torch.float32)
    clipped = 0
    for part, centered in _in_slices(sums, factors, rounding, axis):
        centered.add_(output_range.zero_point)
        clipped += int((centered > output_range.high).sum())
        if output_range.low < output_range.zero_point:
            clipped += int((centered < output_range.low).sum())
        result[part] = centered.clamp_(output_range.low, output_range.high)
    return result, clipped


def to_one_scale(
    weights: NDArray[np.integer], scales: NDArray[np.float32], bits: int
) -> tuple[NDArray[np.int64], float]:
    """Per-channel weights on one power-of-two scale, for a machine without per-channel scales.

    Args:
        weights: levels, (channels, ...).
        scales: one a channel.
        bits: the width of the machine's weights.

    Returns:
        Levels of at most that width, and the scale: the smallest power of two on which none of them
        is clipped.
    """
    real = weights * scales.astype(np.float64).reshape(-1, *[1] * (weights.ndim - 1))
    most = 2 ** (bits - 1) - 1
    reach = float(np.abs(real).max(initial=0.0))
    scale = 2.0 ** math.ceil(math.log2(reach / most)) if reach else 1.0
    return np.rint(real / scale).astype(np.int64), scale


def rescale(sums: Tensor, factors: Factors, rounding: Rounding, axis: int = -1) -> Tensor:
    """``round(sums * factor)`` without zero point and bounds: int64, float for a real factor.

    Args:
        sums: whole numbers of magnitude below 2**31; below 2**47 for ``wide``.
        factors: one, or one for each index of ``axis``.
        rounding: how.
        axis: the channel axis of ``sums``.
    """
    if rounding not in _ROUNDINGS:
        raise TargetError(
            f"the emulator has no rounding {rounding!r}", hint=f"use one of {', '.join(_ROUNDINGS)}"
        )
    return _ROUNDINGS[rounding](sums, factors, axis)


def power_of_two_shift(real: NDArray[np.float64]) -> NDArray[np.int64]:
    """The ``n`` with ``2**n`` nearest to each factor; ``2**n / real`` is between 2/3 and 4/3."""
    fraction, exponent = np.frexp(np.asarray(real))
    return np.asarray(exponent - (fraction < 0.75), np.int64)


def held_error(factors: Factors, rounding: Rounding) -> NDArray[np.float64]:
    """The relative error of the factors that a machine holds, in the shape of ``factors.real``."""
    if rounding == "wide":
        return _reduced(factors) * np.ldexp(1.0, factors.shift - _Q15) / factors.real - 1
    if rounding in _SHIFTS:
        return np.exp2(power_of_two_shift(factors.real)) / factors.real - 1
    if rounding == "half-even":
        return np.zeros_like(factors.real)
    if rounding == "half-even-float32":
        return factors.real.astype(np.float32) / factors.real - 1
    return np.ldexp(factors.mantissa.astype(np.float64), factors.shift - _Q31) / factors.real - 1


def along(values: NDArray[Any], sums: Tensor, axis: int) -> Tensor:
    """One number, or one for each index of an axis, as a tensor that broadcasts."""
    tensor = torch.from_numpy(np.asarray(values))
    if tensor.ndim == 0:
        return tensor
    shape = [1] * sums.ndim
    shape[axis] = -1
    return tensor.reshape(shape)


def high_product(x: Tensor, mantissa: Tensor) -> Tensor:
    """gemmlowp's ``SaturatingRoundingDoublingHighMul`` of int32 numbers in int64; changes ``x``."""
    x.mul_(mantissa).add_(1 << (_Q31 - 1)).bitwise_right_shift_(_Q31)
    return x.clamp_(max=2**31 - 1)


def shift_right(x: Tensor, bits: Tensor, ties: str) -> Tensor:
    """``x / 2**bits`` as a whole number, for int64 tensors and ``bits >= 0``; changes ``x``.

    Args:
        x: int64.
        bits: int64, broadcast over ``x``.
        ties: ``up``, ``away`` from zero or ``even`` for the nearest whole number; ``down`` for the
            one below.
    """
    if ties != "down":
        half = (torch.ones_like(bits) << bits) >> 1
        if ties == "away":
            x += (x >> _SIGN) & -(bits > 0).to(torch.int64)
        elif ties == "even":
            x += (((x >> bits) & 1) - 1) & -(bits > 0).to(torch.int64)
        x += half
    x >>= bits
    return x


def _in_slices(sums: Tensor, factors: Factors, rounding: Rounding, axis: int) -> Any:
    """Slices of the leading axis, rescaled; one slice where the factors run along that axis."""
    rows = sums.shape[0] if sums.ndim else 1
    if not sums.ndim or (factors.real.ndim and axis % sums.ndim == 0):
        yield ..., rescale(sums, factors, rounding, axis)
        return
    step = max(1, _SLICE // max(1, math.prod(sums.shape[1:])))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        yield part, rescale(sums[part], factors, rounding, axis)


# ---- real factors --------------------------------------------------------------------------------


def _half_even(sums: Tensor, factors: Factors, axis: int) -> Tensor:
    return sums.to(torch.float64).mul(along(factors.real, sums, axis)).round_()


def _half_even_float32(sums: Tensor, factors: Factors, axis: int) -> Tensor:
    """As vector kernels do: the sum as float32, times a float32 factor."""
    return sums.to(torch.float32).mul(along(factors.real.astype(np.float32), sums, axis)).round_()


# ---- mantissa and shift --------------------------------------------------------------------------


def _twice(ties: str) -> Callable[[Tensor, Factors, int], Tensor]:
    def rounded(sums: Tensor, factors: Factors, axis: int) -> Tensor:
        if not (factors.shift > 0).any() and _fits(sums):
            return _twice_in_floats(sums, factors, axis, ties)
        shift = along(factors.shift, sums, axis)
        wide = sums.to(torch.int64, copy=True)
        if (factors.shift > 0).any():
            wide = _as_int32(wide << shift.clamp(min=0))
        return shift_right(
            high_product(wide, along(factors.mantissa, sums, axis)), (-shift).clamp(min=0), ties
        )

    return rounded


def _fits(sums: Tensor) -> bool:
    if not sums.numel():
        return True
    least, greatest = torch.aminmax(sums)
    return float(least) >= -_EXACT and float(greatest) <= _EXACT


def _twice_in_floats(sums: Tensor, factors: Factors, axis: int, ties: str) -> Tensor:
    high = (
        sums.to(torch.float64)
        .mul(along(np.ldexp(factors.mantissa.astype(np.float64), -_Q31), sums, axis))
        .add_(0.5)
        .floor_()
    )
    halves = np.ldexp(np.ones(factors.shift.shape), factors.shift)
    if ties == "up":
        return high.mul_(along(halves, sums, axis)).add_(0.5).floor_()
    return high.mul_(along(halves * _NUDGE, sums, axis)).round_()


def _as_int32(wide: Tensor) -> Tensor:
    """What 32 bits keep of a number: C's ``x * (1 << left)`` on the machines that do not trap."""
    return wide.to(torch.int32).to(torch.int64)


def _once(ties: str) -> Callable[[Tensor, Factors, int], Tensor]:
    def rounded(sums: Tensor, factors: Factors, axis: int) -> Tensor:
        wide = sums.to(torch.int64, copy=True).mul_(along(factors.mantissa, sums, axis))
        return shift_right(wide, _Q31 - along(factors.shift, sums, axis), ties)

    return rounded


def _wide(sums: Tensor, factors: Factors, axis: int) -> Tensor:
    """TensorFlow Lite's factors of 15 bits for sums of up to 48 bits, as of 16-bit activations."""
    wide = sums.to(torch.int64, copy=True).mul_(along(_reduced(factors), sums, axis))
    return shift_right(wide, _Q15 - along(factors.shift, sums, axis), "up")


def _reduced(factors: Factors) -> NDArray[np.int64]:
    return np.where(factors.mantissa >= 0x7FFF0000, 0x7FFF, (factors.mantissa + (1 << 15)) >> 16)


# ---- powers of two -------------------------------------------------------------------------------


def _power_of_two(ties: str) -> Callable[[Tensor, Factors, int], Tensor]:
    def rounded(sums: Tensor, factors: Factors, axis: int) -> Tensor:
        shift = along(power_of_two_shift(factors.real), sums, axis)
        wide = sums.to(torch.int64, copy=True)
        if (shift > 0).any():
            wide <<= shift.clamp(min=0)
        return shift_right(wide, (-shift).clamp(min=0, max=_SIGN - 1), ties)

    return rounded


_SHIFTS: Mapping[Rounding, Callable[[Tensor, Factors, int], Tensor]] = {
    "shift": _power_of_two("up"),
    "shift-half-even": _power_of_two("even"),
    "shift-half-away": _power_of_two("away"),
    "shift-down": _power_of_two("down"),
}
_ROUNDINGS: Mapping[Rounding, Callable[[Tensor, Factors, int], Tensor]] = {
    "half-even": _half_even,
    "half-even-float32": _half_even_float32,
    "double": _twice("away"),
    "gemmlowp": _twice("up"),
    "single": _once("up"),
    "single-half-away": _once("away"),
    "wide": _wide,
    **_SHIFTS,
}
