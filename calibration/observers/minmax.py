"""The exact extremes of a tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


class MinMax:
    """The exact minimum and maximum: nothing seen in calibration is clipped."""

    divisible = of_extremes = True

    def __init__(self) -> None:
        self._low, self._high = np.inf, -np.inf

    def update(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch, (samples, ...), finite."""
        if batch.size:
            self._low = min(self._low, float(batch.min()))
            self._high = max(self._high, float(batch.max()))

    def range(self, bits: int) -> tuple[float, float]:  # noqa: ARG002
        """The extremes of all batches."""
        return (self._low, self._high) if self._low <= self._high else (0.0, 0.0)

    def state(self) -> dict[str, NDArray[Any]]:
        """The extremes; infinities for no values."""
        return {"extremes": np.array([self._low, self._high])}

    def merge(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take in the extremes of others."""
        low, high = state["extremes"].tolist()
        self._low, self._high = min(self._low, low), max(self._high, high)
