"""Range observers: each finds the range of a tensor from batches that it sees once and never keeps.

One method a file, by entry point in ``edgeq.observers``. Memory does not grow with the number of
samples, but for ``minmax-percentile``, whose published definition needs two numbers a record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from edgeq.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray


class RangeObserver(Protocol):
    """Watches one tensor, or several that share a grid."""

    def update(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch, (samples, ...), finite."""
        ...

    def range(self, bits: int) -> tuple[float, float]:
        """The minimum and maximum that the grid has to reach; ``(0.0, 0.0)`` for no values.

        Args:
            bits: the width of the grid; its range is widened to hold zero.
        """
        ...


OBSERVERS: Registry[Callable[[], RangeObserver]] = Registry("observer")
"""What makes the observer of one tensor, by the name that a user types."""
