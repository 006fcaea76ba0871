"""A percentile of all values of a tensor, from a histogram that grows with its range."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.observers.minmax import MinMax
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF_BINS = 4096
"""Bins on either side of zero: a bin is at most 1/2048 of the largest magnitude."""


class Percentile:
    """The range without the largest and smallest 0.01 % of the values, from a histogram.

    The bins are the multiples of a power of two, ``HALF_BINS`` on either side of zero. A value
    beyond the last bin doubles their width, by adding neighbours, until it fits; no count is ever
    split. The answer is therefore never inside the exact percentile of the sample and at most one
    bin beyond it, ``2 / HALF_BINS`` of the largest magnitude seen, and never beyond the exact
    extremes.

    Args:
        percent: the share of the values, in percent, at or below the upper end, and at or above the
            lower end.
    """

    def __init__(self, percent: float = 99.99) -> None:
        if not 50.0 < percent <= 100.0:
            raise UsageError(
                f"a percentile of {percent} is no upper end of a range",
                hint="choose more than 50 and at most 100",
            )
        self.percent = percent
        self._extremes = MinMax()
        self._counts = np.zeros(2 * HALF_BINS, np.int64)
        self._width = 0.0  # until something other than zero is seen

    def update(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch, (samples, ...), finite."""
        if not batch.size:
            return
        self._extremes.update(batch)
        self._fit(float(np.abs(batch).max()))
        width = self._width or 1.0
        bins = np.floor(batch.reshape(-1).astype(np.float64) / width).astype(np.int64) + HALF_BINS
        self._counts += np.bincount(bins, minlength=2 * HALF_BINS)

    def range(self) -> tuple[float, float]:
        """The outer edges of the bins in which the two percentiles lie, within the extremes."""
        low, high = self._extremes.range()
        total = int(self._counts.sum())
        if total == 0 or self._width == 0.0:
            return low, high
        enough = int(np.ceil(total * self.percent / 100.0))
        upper = int(np.searchsorted(np.cumsum(self._counts), enough))
        lower = 2 * HALF_BINS - 1 - int(np.searchsorted(np.cumsum(self._counts[::-1]), enough))
        return max(low, (lower - HALF_BINS) * self._width), min(
            high, (upper + 1 - HALF_BINS) * self._width
        )

    def _fit(self, magnitude: float) -> None:
        if magnitude == 0.0:
            return
        # only zeros so far, and they are in the bin that begins at zero whatever its width
        if self._width == 0.0:
            self._width = float(2.0 ** np.floor(np.log2(magnitude / HALF_BINS)))
        while magnitude >= self._width * HALF_BINS:
            self._double()

    def _double(self) -> None:
        pairs = self._counts.reshape(-1, 2).sum(axis=1)
        self._counts[:] = 0
        self._counts[HALF_BINS // 2 : HALF_BINS // 2 + HALF_BINS] = pairs
        self._width *= 2.0
