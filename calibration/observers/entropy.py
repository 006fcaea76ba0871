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
    inside = (values >= low) & (values <= high)
    if not inside.any():
        return np.inf
    place = (values - low) / (high - low) * _BINS
    bins = np.clip(place.astype(np.int64), 0, _BINS - 1)
    clipped = np.bincount(bins, counts, _BINS)
    kept = np.bincount(bins[inside], counts[inside], _BINS)
    group = np.arange(_BINS) * groups // _BINS
    filled = kept > 0
    mean = np.bincount(group, kept, groups) / np.maximum(np.bincount(group, filled, groups), 1)
    merged = np.where(filled, mean[group], 0.0)
    p, q = clipped / clipped.sum(), merged / merged.sum()
    where = p > 0
    # a bin that only clipped values fall into has no share of its own
    return float(p[where] @ np.log(p[where] / np.maximum(q[where], 1e-9)))
