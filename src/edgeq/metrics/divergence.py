"""Cross entropy and divergence between a tensor in float and its quantised self: QCE and QKL.

Yun and Wong, *Do all MobileNets quantize poorly?*, 2021. Of a layer, the distributions are those of
its values over the whole batch, in bins with common edges: ``QCE = -sum p ln q`` and ``QKL = sum p
ln(p / q)`` with p of the float values and q of the quantised ones. The paper leaves the bins open;
here they are 256, since a tensor of 8 bits has no more values, and empty bins of q count 1e-10. The
paper's QMSE is the mean squared error: :class:`edgeq.metrics.squared_error.MSE`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 256
_SMALL = 1e-10


class ValueDivergence:
    """QCE and QKL of the values of a tensor, batch by batch.

    Args:
        low: the smallest value of both; what lies below is counted there.
        high: the largest.
        bins: how many of equal width lie between.
    """

    def __init__(self, low: float, high: float, bins: int = BINS) -> None:
        self._edges = np.linspace(low, high, bins + 1)
        self._counts = np.zeros((2, bins), np.int64)

    def update(self, reference: NDArray[Any], other: NDArray[Any]) -> None:
        """Add a batch of float values and of quantised ones, in real units."""
        for row, values in zip(self._counts, (reference, other), strict=True):
            inside = np.clip(values.astype(np.float64), self._edges[0], self._edges[-1])
            row += np.histogram(inside, self._edges)[0]

    @property
    def qce(self) -> float:
        """The cross entropy, in nats."""
        p, q = self._shares()
        return float(-(p * np.log(q)).sum())

    @property
    def qkl(self) -> float:
        """The divergence, in nats: the cross entropy less the entropy of p."""
        p, _ = self._shares()
        return self.qce + float((p[p > 0] * np.log(p[p > 0])).sum())

    def _shares(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        p, q = (row / max(int(row.sum()), 1) for row in self._counts)
        q = q + _SMALL
        return p, q / q.sum()
