"""What the integers of one layer can come to, exactly, whatever the input is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.linting.model import ACCUMULATOR_RANGE
from edgeq.qdq.ort_x86.saturation import PAIR_RANGE, in_kernel_order, unsigned_bytes, worst_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.linting.model import LintLayer

_STILL = 0.5  # LSB that a result must move by to be another integer


@dataclass(frozen=True, slots=True, eq=False)
class SumBounds:
    """The sums of a layer, channel by channel: products of integers less their zero points, int64.

    Attributes:
        smallest: the smallest sum, bias included.
        largest: the largest.
        lowest: the smallest number that an accumulator meets on the way to it, whatever the order
            of the products and wherever the bias is added.
        highest: the largest.
    """

    smallest: NDArray[np.int64]
    largest: NDArray[np.int64]
    lowest: NDArray[np.int64]
    highest: NDArray[np.int64]

    __repr__ = brief

    def beyond(self, low: int, high: int) -> tuple[int, ...]:
        """The channels whose sum can leave a range."""
        return tuple(int(i) for i in np.flatnonzero((self.smallest < low) | (self.largest > high)))

    @property
    def bits(self) -> int:
        """The least width, in bits, of an accumulator that never overflows, in any order."""
        return least_bits(int(self.lowest.min(initial=0)), int(self.highest.max(initial=0)))

    def channels_beyond(self, bits: int) -> int:
        """How many channels need a wider accumulator than this, in bits."""
        half = 2 ** (bits - 1)
        return int(((self.lowest < -half) | (self.highest > half - 1)).sum())


@dataclass(frozen=True, slots=True)
class PairBounds:
    """Pairs of neighbouring products, which kernels without VNNI add in 16 bits.

    Attributes:
        beyond: how many of them can leave 16 bits.
        total: how many there are.
        furthest: the sum that is farthest from zero.
    """

    beyond: int
    total: int
    furthest: int


def least_bits(low: int, high: int) -> int:
    """The least width of a signed integer that holds a range."""
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length()) + 1


def sum_bounds(layer: LintLayer) -> SumBounds | None:
    """The exact range of a layer's sums; None where it has no integers."""
    ends = layer.reach()
    if ends is None:
        return None
    bias = np.zeros(len(ends[0]), np.int64) if layer.bias is None else layer.bias
    return SumBounds(
        ends[0] + bias,
        ends[1] + bias,
        ends[0] + np.minimum(bias, 0),
        ends[1] + np.maximum(bias, 0),
    )


def leaves_accumulator(layer: LintLayer) -> tuple[SumBounds, tuple[int, ...]] | None:
    """The sums of a layer and the channels that leave 32 bits; None where none does."""
    sums = sum_bounds(layer)
    beyond = () if sums is None else sums.beyond(*ACCUMULATOR_RANGE)
    return None if sums is None or not beyond else (sums, beyond)


def pair_bounds(layer: LintLayer) -> PairBounds | None:
    """The pairs of a layer; None where kernels add none."""
    weights, grid, source = layer.weights, layer.weight_grid, layer.source
    if weights is None or grid is None or grid.dtype != "int8" or layer.depthwise:
        return None
    if source is None or layer.op_type == "ConvTranspose":
        return None
    ends = unsigned_bytes(source, source.qmin, source.qmax)
    if ends is None:
        return None
    rows = in_kernel_order(weights) if weights.ndim > 2 else weights
    smallest, most = worst_pairs(rows, *ends)
    beyond = int(((most > PAIR_RANGE[1]) | (smallest < PAIR_RANGE[0])).sum())
    furthest = max(int(most.max(initial=0)), int(smallest.min(initial=0)), key=abs)
    return PairBounds(beyond, most.size, furthest)


def zero_channels(layer: LintLayer) -> NDArray[np.bool_]:
    """Which output channels have no weight but zeros."""
    if layer.weights is None or not layer.weights.size:
        return np.zeros(0, bool)
    zero: NDArray[np.bool_] = np.count_nonzero(layer.weights, axis=_but_first(layer.weights)) == 0
    return zero


def _but_first(weights: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(range(1, weights.ndim))


def still_channels(layer: LintLayer) -> tuple[NDArray[np.bool_], NDArray[np.float64]] | None:
    """Which output channels no input moves by half a step, and by how many steps it moves each."""
    ends, step, result = layer.reach(), layer.step, layer.result
    if ends is None or step is None or result is None or result.axis is not None:
        return None
    moved: NDArray[np.float64] = (ends[1] - ends[0]) * step / float(result.scale)
    return moved < _STILL, moved


def dead_channels(layer: LintLayer) -> int:
    """How many output channels are the same for every input."""
    zero, still = zero_channels(layer), still_channels(layer)
    return int((zero if still is None else zero | still[0]).sum())
