"""The range whose grid has the smallest mean squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.observers.histogram import HALF_BINS, Histogram, clips

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    _Ends = tuple[float, float]

_FINE = np.linspace(0.8, 1.25, 19).tolist()
_FEW_STEPS = 255  # of a grid whose steps are fewer than the bins
_AT_ONCE = 40  # ranges: what is computed of them stays in the processor's cache
_ROUNDING = 1e-10  # of the largest sum of squares there can be: more than sums are off


class MSE(Histogram):
    """The range on whose grid the values seen have the smallest mean squared error.

    Rounding and clipping together, as in Banner, Nahshan and Soudry, *Post training 4-bit
    quantization of convolutional networks for rapid-deployment*, but searched over the histogram
    instead of a distribution assumed: first both ends at one magnitude, then each end by itself.
    """

    def range(self, bits: int) -> tuple[float, float]:
        """The best range of those searched; never outside the extremes."""
        low, high = self.extremes()
        low, high = min(low, 0.0), max(high, 0.0)
        if low == high:
            return low, high
        errors = _Errors(self, 2**bits - 1)
        best = errors.least(clips(low, high))
        for _ in range(2):
            best = errors.least((best[0], min(best[1] * share, high)) for share in _FINE)
            best = errors.least((max(best[0] * share, low), best[1]) for share in _FINE)
        return best


class _Errors:
    """The squared errors of counted values on the grids of ranges.

    Args:
        seen: the values.
        steps: of each grid.
    """

    def __init__(self, seen: Histogram, steps: int) -> None:
        self._values, found = seen.used()
        self._counts, self._steps, self._width = found.astype(np.float64), steps, seen.width
        filled = np.flatnonzero(seen.counts)
        self._first, self._bins = int(filled[0]), int(filled[-1] - filled[0]) + 1
        counts = seen.counts[self._first : self._first + self._bins].astype(np.float64)
        middles = np.arange(0.5, self._bins) + (self._first - HALF_BINS)
        middles *= seen.width
        # of all bins below an edge between two bins
        self._numbers, self._totals = (
            np.concatenate(((0.0,), each.cumsum())) for each in (counts, counts * middles)
        )

    def least(self, ranges: Iterable[_Ends]) -> _Ends:
        """The first of the ranges with the smallest error."""
        different = tuple(dict.fromkeys(ranges))
        if len(different) == 1:
            return different[0]
        if self._steps > _FEW_STEPS:
            return min(different, key=self._exact)
        ends = np.array(different)
        near = np.concatenate(
            [self._near(ends[i : i + _AT_ONCE]) for i in range(0, len(ends), _AT_ONCE)]
        )
        off = _ROUNDING * self._numbers[-1] * float(np.abs(ends).max()) ** 2
        nearest = np.flatnonzero(near <= near.min() + off)
        if len(nearest) == 1:
            return different[nearest[0]]
        return min((different[i] for i in nearest), key=self._exact)

    def _near(self, ranges: NDArray[np.float64]) -> NDArray[np.float64]:
        """The errors, less the sum of all squares and with rounding, in one go.

        With n and t the number and the total of the values below an edge e, half way between two
        integers, it is the error of the last integer, and 2 * scale * (t - e * n) for each edge.
        """
        low, high = ranges.T
        scale = np.maximum((high - low) / self._steps, np.finfo(np.float64).tiny)
        first = np.rint(low / scale)
        last = (first + self._steps) * scale
        edges = np.arange(0.5, self._steps) + first[:, None]
        edges *= scale[:, None]
        bins = edges / self._width
        bins += HALF_BINS - 0.5 - self._first
        np.clip(np.ceil(bins, out=bins), 0, self._bins, out=bins)
        below = bins.astype(np.intp)
        edges *= self._numbers.take(below)
        np.subtract(self._totals.take(below), edges, out=edges)
        errors: NDArray[np.float64] = last * (last * self._numbers[-1] - 2.0 * self._totals[-1])
        errors += 2.0 * scale * edges.sum(axis=1)
        return errors

    def _exact(self, ends: _Ends) -> float:
        """The sum of squared errors on the grid of a range, its zero point an integer."""
        low, high = ends
        scale = (high - low) / self._steps
        if scale <= 0.0:
            return np.inf
        zero = np.rint(-low / scale)
        error = np.rint(self._values / scale)
        np.maximum(error, -zero, out=error)
        np.minimum(error, self._steps - zero, out=error)
        error *= scale
        error -= self._values
        error *= error
        return float(self._counts @ error)
