"""The range that loses the least information, by the Kullback-Leibler divergence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.observers.histogram import Histogram, clips

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BINS = 2048


class Entropy(Histogram):
    """The range whose grid diverges least from the values seen, by Kullback and Leibler.

    Migacz, *8-bit inference with TensorRT* (2017): of the histogram clipped to a range, its ends
    counted in the last bins, and the same histogram merged into as many groups as the grid has
    integers. Neither end is clipped below a common magnitude.
    """

    def range(self, bits: int) -> tuple[float, float]:
        """The best range of those searched; never beyond the extremes."""
        low, high = self.extremes()
        values, counts = self._without_zeros()
        low, high = min(low, 0.0), max(high, 0.0)
        if low == high:
            return low, high
        return min(clips(low, high), key=lambda ends: _divergence(values, counts, ends, 2**bits))

    def _without_zeros(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The histogram with as many values at zero as beside it.

        Zero is on every grid. As half of what a ReLU makes, it would outweigh the rest.
        """
        values, counts = self.used()
        at_zero = np.searchsorted(values, 0.0)
        if at_zero + 1 < len(values) and values[at_zero] < self.width:
            counts[at_zero] = min(counts[at_zero], counts[at_zero + 1])
        return values, counts


def _divergence(
    values: NDArray[np.float64], counts: NDArray[np.int64], ends: tuple[float, float], groups: int
) -> float:
    """Of the clipped histogram from the merged one, in nats."""
    low, high = ends
    first, last = np.searchsorted(values, low), np.searchsorted(values, high, side="right")
    if first == last:
        return np.inf
    place = ((values[first:last] - low) / (high - low) * _BINS).astype(np.intp)
    kept = np.bincount(np.minimum(place, _BINS - 1), counts[first:last], _BINS)
    clipped = kept.copy()
    clipped[0] += counts[:first].sum()
    clipped[-1] += counts[last:].sum()
    filled = kept > 0
    each = np.reshape(kept, (min(groups, _BINS), -1))
    many = np.maximum(filled.reshape(each.shape).sum(axis=1), 1)
    merged = np.where(filled, np.repeat(each.sum(axis=1) / many, each.shape[1]), 0.0)
    where = clipped > 0
    p, q = clipped[where] / clipped.sum(), merged[where] / merged.sum()
    # a bin that only clipped values fall into has no share of its own
    return float(p @ np.log(p / np.maximum(q, 1e-9)))
