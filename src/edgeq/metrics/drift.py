"""The difference between one tensor of two stages: every metric, and quantisation steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.metrics import METRICS, TensorPair, metric_names
from edgeq.metrics.lsb import LsbHistogram
from edgeq.quant import QuantizedTensor
from edgeq.results import Drift

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Tensor = QuantizedTensor | NDArray[np.float32]

LSB_LIMIT = 8
"""Differences of more quantisation steps are counted at this many."""


def pooled_mse(drifts: Iterable[Drift]) -> float:
    """The mean squared error over the values of several tensors, in squared real units; 0 for none.

    What Ben-Yair, Eliasof and Treister (Quantized convolutional neural networks through the lens of
    partial differential equations, Eq. 3) report over all blocks of a network; the numbers printed
    by their code are its root.
    """
    parts = [(drift.mse, drift.elements) for drift in drifts]
    elements = sum(count for _, count in parts)
    return math.fsum(mse * count for mse, count in parts) / elements if elements else 0.0


class DriftMeter:
    """Accumulates every metric of the difference between one tensor of two stages.

    Args:
        tensor: its name, for the record.
        depth: its position in the graph, from 0.
    """

    def __init__(self, tensor: str, depth: int = 0) -> None:
        self.tensor = tensor
        self.depth = depth
        self._elements = 0
        self._metrics = {name: METRICS.load(name)() for name in metric_names()}
        self._steps = LsbHistogram()
        self._common_grid = True

    def update(self, reference: Tensor, other: Tensor) -> None:
        """Add one batch.

        Args:
            reference: the values taken as true, of any shape.
            other: the values compared with them, of the same shape.

        Raises:
            ArtefactError: the shapes differ.
        """
        pair = TensorPair(_real(reference), _real(other))
        if pair.reference.shape != pair.other.shape:
            raise ArtefactError(
                f"the tensor {self.tensor!r} has the shape {pair.reference.shape} in one stage and "
                f"{pair.other.shape} in the other",
                hint="compare artefacts of the same network",
            )
        self._elements += pair.reference.size
        for metric in self._metrics.values():
            metric.update(pair)
        self._count_steps(reference, other)

    def _count_steps(self, reference: Tensor, other: Tensor) -> None:
        self._common_grid = self._common_grid and _same_grid(reference, other)
        if (
            self._common_grid
            and isinstance(reference, QuantizedTensor)
            and isinstance(other, QuantizedTensor)
        ):
            self._steps.update(other.centered() - reference.centered())

    def result(self) -> Drift:
        """The drift of all batches so far."""
        return Drift(
            tensor=self.tensor,
            depth=self.depth,
            elements=self._elements,
            metrics={name: metric.result() for name, metric in self._metrics.items()},
            lsb=self._steps.clipped(LSB_LIMIT) if self._common_grid else {},
            max_lsb=self._steps.largest if self._common_grid and self._elements else None,
        )


def _real(tensor: Tensor) -> NDArray[np.float64]:
    values = tensor.dequantize() if isinstance(tensor, QuantizedTensor) else tensor
    return values.astype(np.float64)


def _same_grid(a: Tensor, b: Tensor) -> bool:
    if not isinstance(a, QuantizedTensor) or not isinstance(b, QuantizedTensor):
        return False
    return a.params.axis == b.params.axis and np.array_equal(a.params.scale, b.params.scale)
