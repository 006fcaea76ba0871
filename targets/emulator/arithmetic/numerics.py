"""Factors, output ranges and the two protocols of integer arithmetic: add up, then requantise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgeq.brief import brief
from edgeq.numerics.multipliers import quantize_multiplier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from edgeq.numerics.multipliers import Multiplier
    from edgeq.quant import QuantParams
    from edgeq.targets.emulator.hardware.machine import HardwareProfile, Rounding
    from edgeq.targets.emulator.program import OverflowStats


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """Real factors as floats, and as the mantissas and shifts that integer kernels hold.

    Attributes:
        real: float64, shape () or (channels,).
        mantissa: int64 in Q31, the shape of ``real``.
        shift: int64, positive to the left, the shape of ``real``.
    """

    real: NDArray[np.float64]
    mantissa: NDArray[np.int64]
    shift: NDArray[np.int64]

    __repr__ = brief

    @classmethod
    def of(cls, real: float | NDArray[np.float64]) -> Factors:
        """The nearest mantissas and shifts of real factors."""
        values = np.asarray(real, np.float64)
        pairs = [quantize_multiplier(float(value)) for value in values.reshape(-1)]
        mantissa, shift = np.array([[pair.mantissa, pair.shift] for pair in pairs], np.int64).T
        return cls(values, mantissa.reshape(values.shape), shift.reshape(values.shape))

    @classmethod
    def fixed(cls, multipliers: Sequence[Multiplier]) -> Factors:
        """Factors that a kernel holds as these mantissas and shifts; one alone has the shape ()."""
        pairs = np.array([[one.mantissa, one.shift] for one in multipliers], np.int64)
        mantissa, shift = pairs[0] if len(pairs) == 1 else pairs.T
        return cls(
            np.ldexp(np.asarray(mantissa, np.float64), shift - 31),
            np.asarray(mantissa),
            np.asarray(shift),
        )


@dataclass(frozen=True, slots=True)
class OutputRange:
    """Where a result goes: ``low <= q <= high`` on a grid with this zero point."""

    zero_point: int
    low: int
    high: int


class Requantize(Protocol):
    """Brings sums to the integers of an output, in one of the roundings."""

    def __call__(
        self,
        sums: Tensor,
        factors: Factors,
        output_range: OutputRange,
        rounding: Rounding,
        axis: int = -1,
    ) -> Tensor:
        """``clip(zero_point + round(sums * factor), low, high)``.

        Args:
            sums: whole numbers of magnitude below 2**31 (2**47 for ``single`` with int64), float32,
                float64, int32 or int64.
            factors: one, or one for each index of ``axis``.
            output_range: the output's zero point and bounds.
            rounding: how.
            axis: the channel axis of ``sums``.

        Returns:
            float32 whole numbers, the shape of ``sums``.
        """
        ...


class Accumulate(Protocol):
    """Sums of products on an accumulator that may overflow, or that adds pairs."""

    def __call__(
        self, rows: Tensor, weights: Tensor, start: Tensor | None, profile: HardwareProfile
    ) -> tuple[Tensor, OverflowStats]:
        """``start + rows @ weights.T``, product by product in the order of the taps.

        Args:
            rows: float32 whole numbers, (samples, taps): activations with the zero point taken off,
                or as stored, where ``profile.products`` is of unsigned bytes.
            weights: float32 whole numbers, (channels, taps).
            start: what the accumulators hold at first, (channels,) or None for zeros.
            profile: width, overflow and pairing.

        Returns:
            The sums, int64 (samples, channels), and what happened to them.
        """
        ...


def step_of(grid: QuantParams) -> np.float32:
    """The one scale of a per-tensor grid."""
    return np.float32(grid.scale)
