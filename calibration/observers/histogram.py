"""A histogram whose range grows with what it sees, in constant memory.

The bins are the multiples of a power of two, ``HALF_BINS`` on either side of zero. A value beyond
the last bin doubles their width, by adding neighbours, until it fits. No count is ever split, so
the counts depend neither on the order of the batches nor on how they are divided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.observers.minmax import MinMax

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF_BINS = 4096
"""Bins on either side of zero: a bin is at most 1/2048 of the largest magnitude."""


class Histogram:
    """The values of a tensor, counted.

    Attributes:
        counts: int64, (2 * HALF_BINS,); bin i holds ``[i - HALF_BINS, i - HALF_BINS + 1) * width``.
        width: of a bin; 0 until something other than zero is seen.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(2 * HALF_BINS, np.int64)
        self.width = 0.0
        self._extremes = MinMax()

    def update(self, batch: NDArray[np.float32]) -> None:
        """Count one batch, (samples, ...), finite."""
        if not batch.size:
            return
        self._extremes.update(batch)
        self._fit(float(np.abs(batch).max()))
        width = self.width or 1.0
        bins = np.floor(batch.reshape(-1).astype(np.float64) / width).astype(np.int64) + HALF_BINS
        self.counts += np.bincount(bins, minlength=2 * HALF_BINS)

    def extremes(self) -> tuple[float, float]:
        """The exact minimum and maximum; zeros for no values."""
        return self._extremes.range(8)

    def used(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The middles and the counts of the bins that hold values, upwards."""
        filled = np.flatnonzero(self.counts)
        middles = (filled - HALF_BINS + 0.5) * self.width
        return middles.astype(np.float64), self.counts[filled]

    def _fit(self, magnitude: float) -> None:
        if magnitude == 0.0:
            return
        # only zeros so far, and they are in the bin that begins at zero whatever its width
        if self.width == 0.0:
            self.width = float(2.0 ** np.floor(np.log2(magnitude / HALF_BINS)))
        while magnitude >= self.width * HALF_BINS:
            pairs = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts[:] = 0
            self.counts[HALF_BINS // 2 : HALF_BINS // 2 + HALF_BINS] = pairs
            self.width *= 2.0


def clips(low: float, high: float) -> list[tuple[float, float]]:
    """Ranges inside a range, clipped at a magnitude from 2 to 100 % of the largest.

    Args:
        low: the minimum, at most 0.
        high: the maximum, at least 0.
    """
    magnitudes = max(-low, high) * np.geomspace(0.02, 1.0, 80)
    return [(max(low, -float(each)), min(high, float(each))) for each in magnitudes]
