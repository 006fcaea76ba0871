"""The mean squared error and its root."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from edgeq.metrics import Table, TensorPair


class MSE:
    """The mean squared error, in squared real units."""

    heading: ClassVar[str] = "MSE"
    tables: ClassVar[frozenset[Table]] = frozenset(("tensors", "report"))
    format: ClassVar[str] = ".4g"

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def update(self, pair: TensorPair) -> None:
        """Add one batch."""
        self._sum += pair.squared_error
        self._count += pair.error.size

    def result(self) -> float:
        """Over all values so far."""
        return self._sum / self._count if self._count else 0.0


class RMSE(MSE):
    """The root of the mean squared error, in real units."""

    heading: ClassVar[str] = "RMSE"
    tables: ClassVar[frozenset[Table]] = frozenset(("hops", "tensors", "report"))

    def result(self) -> float:
        """Over all values so far."""
        return math.sqrt(super().result())
