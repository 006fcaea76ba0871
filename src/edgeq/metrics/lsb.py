"""Differences in quantisation steps, as large as they are."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

_DENSE = 1 << 12  # steps in a table; beyond it, values are sorted


class LsbHistogram:
    """How many values differ by each number of steps; nothing is cut off.

    Attributes:
        counts: difference in steps to number of values.
    """

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def update(self, steps: NDArray[Any]) -> None:
        """Add differences of any shape: integers, or whole numbers in float."""
        if not steps.size:
            return
        if not steps.any():
            self.counts[0] += steps.size
            return
        low, high = int(steps.min()), int(steps.max())
        flat = steps.reshape(-1).astype(np.int64)
        if high - low < _DENSE:
            found = np.bincount(flat - low, minlength=high - low + 1)
            where = np.flatnonzero(found)
            values, times = where + low, found[where]
        else:
            values, times = np.unique(flat, return_counts=True)
        self.counts.update(dict(zip(values.tolist(), times.tolist(), strict=True)))

    @property
    def largest(self) -> int:
        """The largest difference either way."""
        return max((abs(step) for step, count in self.counts.items() if count), default=0)

    def clipped(self, limit: int) -> dict[int, int]:
        """The histogram with what lies beyond a limit counted there."""
        found: Counter[int] = Counter()
        for step, count in self.counts.items():
            found[max(-limit, min(limit, step))] += count
        return dict(sorted(found.items()))
