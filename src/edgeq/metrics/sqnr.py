"""The ratio of signal to quantisation noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from edgeq.metrics import Table, TensorPair


def sqnr_db(signal: float, noise: float) -> float:
    """``10 log10(signal / noise)`` of two powers: infinite without noise, minus without signal."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


class SQNR:
    """``10 log10(sum ref^2 / sum error^2)`` in dB.

    Infinite for equal tensors, minus infinite for a reference of zeros.
    """

    heading: ClassVar[str] = "SQNR dB"
    tables: ClassVar[frozenset[Table]] = frozenset(("hops", "tensors", "report"))
    format: ClassVar[str] = ".1f"

    def __init__(self) -> None:
        self._signal = self._noise = 0.0

    def update(self, pair: TensorPair) -> None:
        """Add one batch."""
        self._signal += pair.signal
        self._noise += pair.squared_error

    def result(self) -> float:
        """Over all values so far."""
        return sqnr_db(self._signal, self._noise)
