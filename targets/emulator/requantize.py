"""From sums to the integers of an output: the roundings of the machines, over whole tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from edgeq.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from edgeq.targets.emulator.numerics import Factors, Landing, Rounding

_HALF = 1 << 30


def requantize(sums: Tensor, factors: Factors, landing: Landing, rounding: Rounding, axis: int = -1) -> Tensor:
    """``clip(zero_point + round(sums * factor), low, high)``; see :class:`edgeq.targets.emulator.numerics.Requantize`."""
    if rounding not in _ROUNDINGS:
        raise TargetError(f"the emulator has no rounding {rounding!r}", mend=f"use one of {', '.join(_ROUNDINGS)}")
    levels = _ROUNDINGS[rounding](sums, factors, axis)
    return levels.add_(landing.zero_point).clamp_(landing.low, landing.high).to(torch.float32)


def along(values: NDArray[Any], sums: Tensor, axis: int) -> Tensor:
    """One number, or one for each index of an axis, as a tensor that broadcasts."""
    tensor = torch.from_numpy(values)
    if tensor.ndim == 0:
        return tensor
    shape = [1] * sums.ndim
    shape[axis] = -1
    return tensor.reshape(shape)


def _half_even(sums: Tensor, factors: Factors, axis: int) -> Tensor:
    return sums.to(torch.float64).mul_(along(factors.real, sums, axis)).round_()


def _double(sums: Tensor, factors: Factors, axis: int) -> Tensor:
    """gemmlowp's SaturatingRoundingDoublingHighMul, then its RoundingDivideByPOT."""
    shift = along(factors.shift, sums, axis)
    wide = sums.to(torch.int64, copy=True)
    if bool((factors.shift > 0).any()):
        wide <<= shift.clamp(min=0)
    wide *= along(factors.mantissa, sums, axis)
    wide += _HALF
    wide >>= 31
    right = (-shift).clamp(min=0)
    half = (torch.ones_like(right) << right) >> 1
    wide += half
    wide -= ((wide < half) & (right > 0)).to(torch.int64)
    wide >>= right
    return wide


_ROUNDINGS: Mapping[Rounding, Callable[[Tensor, Factors, int], Tensor]] = {"half-even": _half_even, "double": _double}
