"""A moving average of the extremes of batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


class MovingAverage:
    """The exponential moving average of each batch's minimum and maximum.

    As in Jacob et al., *Quantization and training of neural networks for efficient
    integer-arithmetic-only inference* (2018), Sec. 3.1. It depends on the order and the size of the
    batches. Keeps 16 bytes a batch.

    Args:
        weight: the share of the newest batch.
    """

    of_extremes = True

    def __init__(self, weight: float = 0.1) -> None:
        if not 0.0 < weight <= 1.0:
            raise UsageError(
                f"a weight of {weight} makes no average", hint="choose more than 0 and at most 1"
            )
        self.weight = weight
        self._minima: list[float] = []
        self._maxima: list[float] = []

    def update(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch, (samples, ...), finite."""
        if batch.size:
            self._minima.append(float(batch.min()))
            self._maxima.append(float(batch.max()))

    def range(self, bits: int) -> tuple[float, float]:  # noqa: ARG002
        """The averages."""
        return self._average(self._minima), self._average(self._maxima)

    def _average(self, values: list[float]) -> float:
        average = values[0] if values else 0.0
        for value in values[1:]:
            average += self.weight * (value - average)
        return average

    def state(self) -> dict[str, NDArray[Any]]:
        """The minimum and the maximum of each batch, in order."""
        return {"minima": np.array(self._minima), "maxima": np.array(self._maxima)}

    def merge(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Add the batches that come next."""
        self._minima.extend(state["minima"].tolist())
        self._maxima.extend(state["maxima"].tolist())
