"""Percentiles of minima and maxima, as TensorFlow's Graph Transform Tool has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Granularity = Literal["image", "batch"]


class MinMaxPercentile:
    """Percentiles (5 and 95 %) of the minima and maxima of images, not of values.

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
        if granularity not in get_args(Granularity):
            raise UsageError(
                f"a record cannot be one {granularity!r}",
                hint=f"choose {' or '.join(get_args(Granularity))}",
            )
        self.tail = tail
        self.granularity = granularity
        self.divisible = granularity == "image"
        self.of_extremes = granularity == "batch"
        self._minima: list[float] = []
        self._maxima: list[float] = []

    def update(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch, (samples, ...), finite."""
        if not batch.size:
            return
        records = batch.reshape(len(batch) if self.granularity == "image" else 1, -1)
        self._minima.extend(records.min(axis=1).tolist())
        self._maxima.extend(records.max(axis=1).tolist())

    def range(self, bits: int) -> tuple[float, float]:  # noqa: ARG002
        """The percentiles of the logged minima and maxima."""
        count = len(self._minima)
        if count == 0:
            return 0.0, 0.0
        first = int(count * self.tail + 0.5)
        last = min(count - 1, int(count * (1.0 - self.tail) + 0.5))
        return sorted(self._minima)[first], sorted(self._maxima)[last]

    def state(self) -> dict[str, NDArray[Any]]:
        """The minimum and the maximum of each record."""
        return {"minima": np.array(self._minima), "maxima": np.array(self._maxima)}

    def merge(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Add the records of others."""
        self._minima.extend(state["minima"].tolist())
        self._maxima.extend(state["maxima"].tolist())
