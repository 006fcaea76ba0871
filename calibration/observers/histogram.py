"""A histogram whose range grows with what it sees, in constant memory.

The bins are the multiples of a power of two, ``HALF_BINS`` on either side of zero. A value beyond
the last bin doubles their width, by adding neighbours, until it fits. No count is ever split, so
the counts depend neither on the order of the batches nor on how they are divided.
"""

from __future__ import annotations

from math import frexp, ldexp
from threading import local
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.calibration.observers.minmax import MinMax

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

HALF_BINS = 4096
"""Bins on either side of zero: a bin is at most 1/2048 of the largest magnitude."""
_PIECE = 2**16  # values that are counted at once: they stay in the processor's cache
_CLIPPED = np.geomspace(0.02, 1.0, 80)  # magnitudes that are tried, as shares of the largest
_FINEST = 2.0**-100  # width whose inverse float32 holds with room above it


class _Scratch(local):
    """Where a thread scales values: memory that is new takes longer to get than to fill."""

    def __init__(self) -> None:
        self.scaled = np.empty(_PIECE, np.float32)
        self.bins = np.empty(_PIECE, np.intp)


_SCRATCH = _Scratch()


class Histogram:
    """The values of a tensor, counted.

    Attributes:
        counts: int64, (2 * HALF_BINS,); bin i holds ``[i - HALF_BINS, i - HALF_BINS + 1) * width``.
        width: of a bin; 0 until something other than zero is seen.
    """

    divisible = takes_extremes = True

    def __init__(self) -> None:
        self.counts = np.zeros(2 * HALF_BINS, np.int64)
        self.width = 0.0
        self._extremes = MinMax()

    def update(
        self, batch: NDArray[np.float32], extremes: tuple[float, float] | None = None
    ) -> None:
        """Count one batch, (samples, ...), finite; its extremes are looked for if not given."""
        if not batch.size:
            return
        low, high = extremes or (float(batch.min()), float(batch.max()))
        self._extremes.update(np.array([low, high], np.float32))
        self._fit(max(-low, high))
        width = self.width or 1.0
        values = batch.reshape(-1)
        # up to a width of 1 no tiny value becomes a zero without a sign
        single = _FINEST < width <= 1.0
        first = min(int(np.floor(low / width)), 0)  # bins below it get nothing
        found = np.zeros(0, np.int64)
        for start in range(0, values.size, _PIECE):
            part = values[start : start + _PIECE]
            scaled: NDArray[np.float32 | np.float64]
            if single:
                # scaling by a power of two is exact
                scaled = _SCRATCH.scaled[: len(part)]
                np.multiply(part, np.float32(1.0 / width), out=scaled)
            else:
                scaled = part.astype(np.float64) / width
            if first < 0:  # else cutting off is rounding down
                np.floor(scaled, out=scaled)
                scaled -= first  # exact: whole numbers
            # numpy counts whole numbers of this type; of others it makes a copy
            bins = _SCRATCH.bins[: len(part)]
            np.copyto(bins, scaled, casting="unsafe")
            more = np.bincount(bins, minlength=len(found))
            more[: len(found)] += found
            found = more
        self.counts[HALF_BINS + first : HALF_BINS + first + len(found)] += found

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
            self.width = ldexp(1.0, frexp(magnitude / HALF_BINS)[1])
        while magnitude >= self.width * HALF_BINS:
            self.counts = _coarser(self.counts)
            self.width *= 2.0

    def state(self) -> dict[str, NDArray[Any]]:
        """The counts from the first to the last bin that holds any, and where they begin."""
        extremes = self._extremes.state()
        first = last = 0
        if np.isfinite(extremes["extremes"]).all():  # anything was seen
            ends = np.floor(extremes["extremes"] / (self.width or 1.0)).astype(np.int64) + HALF_BINS
            first, last = int(ends[0]), int(ends[1]) + 1
        return {
            "counts": self.counts[first:last],
            "first": np.array(first, np.int64),
            "width": np.array(self.width),
            **extremes,
        }

    def merge(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Add the counts of others, in bins as wide as the wider ones of the two."""
        self._extremes.merge(state)
        first, width = int(state["first"]), float(state["width"])
        if self.width == width:
            self.counts[first : first + len(state["counts"])] += state["counts"]
            return
        counts = np.zeros(2 * HALF_BINS, np.int64)
        counts[first : first + len(state["counts"])] = state["counts"]
        while 0.0 < width < self.width:
            counts, width = _coarser(counts), 2.0 * width
        while 0.0 < self.width < width:
            self.counts, self.width = _coarser(self.counts), 2.0 * self.width
        self.counts = self.counts + counts
        self.width = max(self.width, width)


def _coarser(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The counts in bins of twice the width."""
    wider = np.zeros_like(counts)
    wider[HALF_BINS // 2 : HALF_BINS // 2 + HALF_BINS] = counts.reshape(-1, 2).sum(axis=1)
    return wider


def clips(low: float, high: float) -> list[tuple[float, float]]:
    """Ranges inside a range, clipped at a magnitude from 2 to 100 % of the largest.

    Args:
        low: the minimum, at most 0.
        high: the maximum, at least 0.
    """
    magnitudes = max(-low, high) * _CLIPPED
    return [(max(low, -float(each)), min(high, float(each))) for each in magnitudes]
