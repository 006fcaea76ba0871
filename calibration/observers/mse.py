"""The range whose grid has the smallest mean squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.observers.histogram import Histogram, clips

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FINE = np.linspace(0.8, 1.25, 19)


class MSE(Histogram):
    """The range on whose grid the values seen have the smallest mean squared error.

    Rounding and clipping together, as in Banner, Nahshan and Soudry, *Post training 4-bit
    quantization of convolutional networks for rapid-deployment*, but searched over the histogram
    instead of a distribution assumed: first both ends at one magnitude, then each end by itself.
    """

    def range(self, bits: int) -> tuple[float, float]:
        """The best range of those searched; never beyond the extremes."""
        low, high = self.extremes()
        values, found = self.used()
        counts = found.astype(np.float64)
        low, high = min(low, 0.0), max(high, 0.0)
        if low == high:
            return low, high

        def error(ends: tuple[float, float]) -> float:
            return _squared_error(values, counts, ends, 2**bits - 1)

        best = min(clips(low, high), key=error)
        for _ in range(2):
            best = min(((best[0], min(best[1] * share, high)) for share in _FINE), key=error)
            best = min(((max(best[0] * share, low), best[1]) for share in _FINE), key=error)
        return best


def _squared_error(
    values: NDArray[np.float64], counts: NDArray[np.float64], ends: tuple[float, float], steps: int
) -> float:
    """The sum of squared errors of values on the grid of a range, its zero point an integer."""
    low, high = ends
    scale = (high - low) / steps
    if scale <= 0.0:
        return np.inf
    zero = np.rint(-low / scale)
    error = np.rint(values / scale)
    np.maximum(error, -zero, out=error)
    np.minimum(error, steps - zero, out=error)
    error *= scale
    error -= values
    error *= error
    return float(counts @ error)
