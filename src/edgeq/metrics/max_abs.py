"""The largest absolute error."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    from edgeq.metrics import Table, TensorPair


class MaxAbsError:
    """The largest absolute error, in real units."""

    heading: ClassVar[str] = "largest"
    tables: ClassVar[frozenset[Table]] = frozenset(("hops", "report"))
    format: ClassVar[str] = ".4g"

    def __init__(self) -> None:
        self._max = 0.0

    def update(self, pair: TensorPair) -> None:
        """Add one batch."""
        # unlike max, NaN stays NaN
        self._max = float(np.maximum(self._max, np.abs(pair.error).max(initial=0.0)))

    def result(self) -> float:
        """Over all values so far."""
        return self._max
