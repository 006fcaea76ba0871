"""The range that loses the least information, by the Kullback-Leibler divergence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.observers.histogram import Histogram, clips

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BINS = 2048
_EQUAL = 1e-12  # nats, which rounding makes
_LEAST = 1e-9  # share of a bin


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
        weights = counts.astype(np.float64)
        found = {ends: _divergence(values, weights, ends, 2**bits) for ends in clips(low, high)}
        least = min(found.values()) + _EQUAL
        return next(ends for ends in reversed(found) if found[ends] <= least)  # the widest of them

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
    values: NDArray[np.float64], counts: NDArray[np.float64], ends: tuple[float, float], groups: int
) -> float:
    """Of the clipped histogram from the merged one, in nats.

    The merged one is even within a group: its logarithm is taken once for each.
    """
    low, high = ends
    first, last = values.searchsorted(low), values.searchsorted(high, side="right")
    if first == last:
        return np.inf
    place = ((values[first:last] - low) / (high - low) * _BINS).astype(np.intp)
    kept = np.bincount(place, counts[first:last], _BINS + 1)
    kept[-2] += kept[-1]  # what lies at the upper end
    kept = kept[:-1]
    clipped, filled = kept.copy(), (kept > 0).astype(np.float64)
    clipped[0] += counts[:first].sum()
    clipped[-1] += counts[last:].sum()
    size = _BINS // min(groups, _BINS)
    ones = np.ones(size)  # a product adds short rows up faster than a sum
    merged, many, shared = (a.reshape(-1, size) @ ones for a in (kept, filled, clipped * filled))
    q = np.maximum(merged / np.maximum(many, 1.0) / merged.sum(), _LEAST)
    total = clipped.sum()
    entropy = np.log(total) - clipped @ np.log(np.maximum(clipped, 1.0)) / total
    # a bin that only clipped values fall into has no share of its own
    cross = (shared @ np.log(q) + (total - shared.sum()) * np.log(_LEAST)) / total
    return float(-entropy - cross)
