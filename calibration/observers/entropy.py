"""The range that loses the least information, by the Kullback-Leibler divergence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.observers.histogram import Histogram, clips

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_BINS = 2048
_AT_ONCE = 4  # ranges: what is computed of them stays in the processor's nearest cache
_EQUAL = 1e-12  # nats, which rounding makes
_LEAST = 1e-9  # share of a bin
_TINY = float(np.finfo(np.float64).tiny)


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
        ranges = clips(low, high)
        bounds = _lower_bounds(values, counts, np.array(ranges), 2**bits)
        order = np.argsort(bounds, kind="stable")
        found = np.full(len(ranges), np.inf)
        for i in range(0, len(order), _AT_ONCE):
            some = order[i : i + _AT_ONCE]
            if bounds[some[0]] > found.min() + _EQUAL:
                break
            found[some] = _divergences(values, counts, [ranges[at] for at in some], 2**bits)
        return ranges[int(np.flatnonzero(found <= found.min() + _EQUAL)[-1])]  # the widest of them

    def _without_zeros(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The histogram with as many values at zero as beside it.

        Zero is on every grid. As half of what a ReLU makes, it would outweigh the rest.
        """
        values, counts = self.used()
        at_zero = np.searchsorted(values, 0.0)
        if at_zero + 1 < len(values) and values[at_zero] < self.width:
            counts[at_zero] = min(counts[at_zero], counts[at_zero + 1])
        return values, counts


def _lower_bounds(
    values: NDArray[np.float64],
    counts: NDArray[np.int64],
    ranges: NDArray[np.float64],
    groups: int,
) -> NDArray[np.float64]:
    """What divergences are at least: those of three bins, the two outer groups and the rest.

    Merging bins makes no divergence larger, and neither do more values in an outer group. So those
    have one bin more than they may have, and rounding leaves none out.
    """
    low, high = ranges.T
    reach = (high - low) / min(groups, _BINS)
    below = np.concatenate(((0,), counts.cumsum())).astype(np.float64)
    first, last = values.searchsorted(low), values.searchsorted(high, side="right")
    inner_low = np.minimum(values.searchsorted(low + reach) + 1, last)
    inner_high = np.maximum(values.searchsorted(high - reach) - 1, first)
    under, over, inside = below[first], below[-1] - below[last], below[last] - below[first]
    at_low, at_high = below[inner_low] - below[first], below[last] - below[inner_high]
    between = np.maximum(inside - at_low - at_high, 0.0)
    p = np.stack((at_low + under, between, at_high + over)) / below[-1]
    q = np.stack((at_low, between, at_high)) / np.maximum(inside, 1.0) + _BINS * _LEAST
    found: NDArray[np.float64] = (p * np.log(np.maximum(p, _TINY) / q)).sum(axis=0)
    found -= _EQUAL
    return found


def _divergences(
    values: NDArray[np.float64],
    counts: NDArray[np.int64],
    ranges: Sequence[tuple[float, float]],
    groups: int,
) -> NDArray[np.float64]:
    """Of clipped histograms from merged ones, in nats; infinite where a range has no values.

    A merged one is even within a group: its logarithm is taken once for each.
    """
    weights = counts.astype(np.float64)
    kept = np.zeros((len(ranges), _BINS))
    outside = np.zeros((len(ranges), 2))
    for i, (low, high) in enumerate(ranges):
        first, last = values.searchsorted(low), values.searchsorted(high, side="right")
        place = values[first:last] - low
        place /= high - low
        place *= _BINS
        in_bins = np.bincount(place.astype(np.intp), weights[first:last], _BINS + 1)
        kept[i] = in_bins[:-1]
        kept[i, -1] += in_bins[-1]  # what lies at the upper end
        outside[i] = counts[:first].sum(), counts[last:].sum()
    inside = kept.sum(axis=1)
    total = inside + outside.sum(axis=1)
    size = _BINS // min(groups, _BINS)
    filled = (kept > 0.0).astype(np.float64)
    many, merged = (_by_group(each, size) for each in (filled, kept))
    # a bin that only clipped values fall into has no share of its own
    shared = merged.copy()
    shared[:, 0] += outside[:, 0] * filled[:, 0]
    shared[:, -1] += outside[:, 1] * filled[:, -1]
    merged /= np.maximum(many, 1.0, out=many)
    merged /= np.maximum(inside, 1.0)[:, None]
    q = np.log(np.maximum(merged, _LEAST, out=merged), out=merged)
    kept[:, 0] += outside[:, 0]
    kept[:, -1] += outside[:, 1]
    logs = np.log(np.maximum(kept, 1.0, out=filled), out=filled)
    entropy = np.log(total) - np.einsum("rb,rb->r", kept, logs) / total
    cross = np.einsum("rg,rg->r", shared, q) + (total - shared.sum(axis=1)) * np.log(_LEAST)
    return np.where(inside > 0.0, -entropy - cross / total, np.inf)


def _by_group(bins: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """The sums of so many neighbours, (rows, groups)."""
    # a product adds short rows up faster than a sum
    sums: NDArray[np.float64] = bins.reshape(-1, size) @ np.ones(size)
    return sums.reshape(len(bins), -1)
