"""What a machine's integer arithmetic is, as data, and what it did to one layer.

The words that all of the emulator shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from edgeq.brief import brief
from edgeq.numerics.multipliers import quantize_multiplier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from edgeq.numerics.multipliers import Multiplier
    from edgeq.quant import QuantParams
    from edgeq.targets.emulator.hardware.speed import Costs

Rounding = Literal[
    "half-even",
    "half-even-float32",
    "double",
    "gemmlowp",
    "single",
    "single-half-away",
    "shift",
    "shift-half-even",
    "shift-half-away",
    "shift-down",
    "wide",
]
Overflow = Literal["wrap", "saturate"]
Products = Literal["exact", "pairs-int16"]


@dataclass(frozen=True, slots=True)
class Profile:
    """The arithmetic of a machine.

    Attributes:
        name: the word a user types.
        summary: one line for people.
        rounding: how a sum becomes an output integer. ``half-even``: a real factor, ties to even,
            as ONNX says, and ``half-even-float32`` in the single precision of vector kernels;
            ``double``: a 31-bit mantissa, rounded, then a shift, rounded with ties away from zero,
            as TFLite and CMSIS-NN; ``gemmlowp``: as ``double``, the second ties up, as gemmlowp's
            own output stage; ``single``: mantissa and shift in one step, rounded once, ties up, as
            TFLite and CMSIS-NN built for single rounding, or ``-half-away`` from zero; ``shift``:
            the nearest power of two, ties up, to even, away from zero, or all ``down``.
        dense_rounding: the same for fully connected layers, where a machine's kernel for them is of
            another kind.
        accumulator_bits: the width of sums of products, sign included.
        overflow: what a sum does that does not fit.
        products: how products enter the sum: each by itself, or in pairs that saturate at 16 bits
            first (``vpmaddubsw``).
        storage_dtypes: integer types of activations that the machine has; empty for any.
        weight_bits: the least and the greatest width of weights.
        activation_bits: the least and the greatest width of activations.
        per_channel: whether weights may have a scale for each channel.
        kernels: whose integer kernels compute softmax and the like: those of ``litert``, which are
            TensorFlow Lite Micro's and CMSIS-NN's too; with ``ort`` what ONNX Runtime's optimiser
            makes of a QDQ file for x86 counts too.
        binary: whether sums of one-bit products are counted by XNOR and popcount.
        on_unsupported_width: what becomes of a layer with wider operands: the file is refused, or
            the layer is left to a ``host`` that computes it in 32 bits.
        source: where all this is written.
        costs: its speed and its memories; None where no cost is estimated.
    """

    name: str
    summary: str
    rounding: Rounding
    dense_rounding: Rounding
    accumulator_bits: int = 32
    overflow: Overflow = "wrap"
    products: Products = "exact"
    storage_dtypes: frozenset[str] = frozenset()
    weight_bits: tuple[int, int] = (1, 16)
    activation_bits: tuple[int, int] = (1, 16)
    per_channel: bool = True
    binary: bool = False
    kernels: Literal["litert", "ort"] = "litert"
    on_unsupported_width: Literal["refuse", "host"] = "refuse"
    source: str = ""
    costs: Costs | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """Real factors as floats, and as the mantissas and shifts that integer kernels hold in their place.

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


@dataclass(frozen=True, slots=True)
class OverflowStats:
    """What happened to the sums of one layer, added up over the samples seen.

    Attributes:
        sums: sums of products computed.
        steps: additions into an accumulator, one a product or pair of products.
        overflowed: sums that left the accumulator's range at least once, and so were wrapped or
            saturated.
        pairs: pairs of products that saturated at 16 bits.
        wrong: sums that differ from the exact ones in the end.
        clipped: outputs that lie on a bound of their range and were beyond it before.
    """

    sums: int = 0
    steps: int = 0
    overflowed: int = 0
    pairs: int = 0
    wrong: int = 0
    clipped: int = 0

    def __add__(self, other: OverflowStats) -> OverflowStats:
        return OverflowStats(
            *(getattr(self, name) + getattr(other, name) for name in self.__slots__)
        )


class Accumulate(Protocol):
    """Sums of products on an accumulator that is not wide enough for all of them, or that adds pairs."""

    def __call__(
        self, rows: Tensor, weights: Tensor, start: Tensor | None, profile: Profile
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
