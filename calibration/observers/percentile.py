"""A percentile of all values of a tensor."""

from __future__ import annotations

import numpy as np

from edgeq.calibration.observers.histogram import HALF_BINS, Histogram
from edgeq.errors import UsageError


class Percentile(Histogram):
    """The range without the largest and smallest 0.01 % of the values, from a histogram.

    It is never inside the exact percentile of the sample and at most one bin beyond it, ``2 /
    HALF_BINS`` of the largest magnitude seen, and never beyond the exact extremes.

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
        super().__init__()
        self.percent = percent

    def range(self, bits: int) -> tuple[float, float]:  # noqa: ARG002
        """The outer edges of the bins in which the two percentiles lie, within the extremes."""
        low, high = self.extremes()
        total = int(self.counts.sum())
        if total == 0 or self.width == 0.0:
            return low, high
        enough = int(np.ceil(total * self.percent / 100.0))
        upper = int(np.searchsorted(np.cumsum(self.counts), enough))
        lower = 2 * HALF_BINS - 1 - int(np.searchsorted(np.cumsum(self.counts[::-1]), enough))
        return max(low, (lower - HALF_BINS) * self.width), min(
            high, (upper + 1 - HALF_BINS) * self.width
        )
