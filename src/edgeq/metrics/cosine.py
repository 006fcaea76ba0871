"""The cosine similarity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from edgeq.metrics import dot

if TYPE_CHECKING:
    from edgeq.metrics import Table, TensorPair


class Cosine:
    """The cosine of the angle between all values of both tensors; 1 where they are equal."""

    heading: ClassVar[str] = "cosine"
    tables: ClassVar[frozenset[Table]] = frozenset(("tensors", "report"))
    format: ClassVar[str] = ".6f"

    def __init__(self) -> None:
        self._product = self._signal = self._other = self._error = 0.0

    def update(self, pair: TensorPair) -> None:
        """Add one batch."""
        self._product += dot(pair.reference, pair.other)
        self._signal += pair.signal
        self._other += dot(pair.other, pair.other)
        self._error += pair.squared_error

    def result(self) -> float:
        """Over all values so far."""
        if self._error == 0:
            return 1.0
        length = math.sqrt(self._signal) * math.sqrt(self._other)
        return self._product / length if length else 0.0
