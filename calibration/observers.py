"""How the range of a tensor is found from batches that are seen once and never kept.

Each observer answers with the least and greatest value that the tensor's grid has to reach. Memory
does not grow with the number of samples, but for :class:`MinMaxPercentile`, whose published
definition needs two numbers a record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, get_args

import numpy as np

from edgeq.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

ObserverName = Literal["minmax", "percentile", "minmax-percentile"]
Granularity = Literal["image", "batch"]

HALF_BINS = 4096  # bins on either side of zero: a bin is at most 1/2048 of the greatest magnitude


class Observer(Protocol):
    """Watches one tensor, or several that share a grid."""

    def update(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch, (samples, ...), finite."""
        ...

    def range(self) -> tuple[float, float]:
        """The least and greatest value to represent; ``(0.0, 0.0)`` when nothing was seen."""
        ...


class MinMax:
    """The exact extremes: nothing seen in calibration is clipped."""

    def __init__(self) -> None:
        self._low, self._high = np.inf, -np.inf

    def update(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch, (samples, ...), finite."""
        if batch.size:
            self._low = min(self._low, float(batch.min()))
            self._high = max(self._high, float(batch.max()))

    def range(self) -> tuple[float, float]:
        """The extremes of all batches."""
        return (self._low, self._high) if self._low <= self._high else (0.0, 0.0)


class Percentile:
    """The range that holds all but a small share of the values on either side, from a histogram that grows.

    The bins are the multiples of a power of two, ``HALF_BINS`` on either side of zero. A value
    beyond the last bin doubles their width, by adding neighbours, until it fits; no count is ever
    split. The answer is therefore never inside the exact percentile of the sample and at most one
    bin beyond it, ``2 / HALF_BINS`` of the greatest magnitude seen, and never beyond the exact
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


class MinMaxPercentile:
    """Percentiles over the logged minima and maxima of records, not over values.

    With both lists sorted upwards and n records, the range is ``minima[round(n * tail)]`` to
    ``maxima[min(n - 1, round(n * (1 - tail)))]``, rounded half away from zero. Below ten records
    nothing is clipped. The scheme of Yun and Wong, *Do all MobileNets quantize poorly?* ("min/max
    percentile 5 %"), as TensorFlow's ``freeze_requantization_ranges`` computes it. Keeps 16 bytes a
    record.

    Args:
        tail: the share of the records that may reach beyond either end.
        granularity: whether a record is one image or one whole batch.
    """

    def __init__(self, tail: float = 0.05, granularity: Granularity = "image") -> None:
        if not 0.0 <= tail < 0.5:
            raise UsageError(
                f"a tail of {tail} leaves no range", hint="choose at least 0 and less than 0.5"
            )
        self.tail = tail
        self.granularity = granularity
        self._minima: list[float] = []
        self._maxima: list[float] = []

    def update(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch, (samples, ...), finite."""
        if not batch.size:
            return
        records = batch.reshape(len(batch) if self.granularity == "image" else 1, -1)
        self._minima.extend(records.min(axis=1).tolist())
        self._maxima.extend(records.max(axis=1).tolist())

    def range(self) -> tuple[float, float]:
        """The percentiles of the logged minima and maxima."""
        count = len(self._minima)
        if count == 0:
            return 0.0, 0.0
        first = int(count * self.tail + 0.5)
        last = min(count - 1, int(count * (1.0 - self.tail) + 0.5))
        return sorted(self._minima)[first], sorted(self._maxima)[last]


_OBSERVERS: dict[ObserverName, Callable[[], Observer]] = {
    "minmax": MinMax,
    "percentile": Percentile,
    "minmax-percentile": MinMaxPercentile,
}


def observer_factory(name: ObserverName) -> Callable[[], Observer]:
    """What makes the observers of a name, with their default settings.

    Raises:
        UnknownName: there is none of this name.
    """
    if name not in _OBSERVERS:
        raise UnknownName("observer", name, get_args(ObserverName))
    return _OBSERVERS[name]
