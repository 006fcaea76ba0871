"""A moving average of the extremes of batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class MovingAverage:
    """The exponential moving average of each batch's minimum and maximum.

    As in Jacob et al., *Quantization and training of neural networks for efficient
    integer-arithmetic-only inference* (2018), Sec. 3.1. It depends on the order and the size of the
    batches.

    Args:
        weight: the share of the newest batch.
    """

    def __init__(self, weight: float = 0.1) -> None:
        if not 0.0 < weight <= 1.0:
            raise UsageError(
                f"a weight of {weight} makes no average", hint="choose more than 0 and at most 1"
            )
        self.weight = weight
        self._range: tuple[float, float] | None = None

    def update(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch, (samples, ...), finite."""
        if not batch.size:
            return
        new = float(batch.min()), float(batch.max())
        old = self._range or new
        low, high = (a + self.weight * (b - a) for a, b in zip(old, new, strict=True))
        self._range = low, high

    def range(self, bits: int) -> tuple[float, float]:  # noqa: ARG002
        """The averages."""
        return self._range or (0.0, 0.0)
