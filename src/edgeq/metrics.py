"""How far two stages are apart, and what a count of right answers is worth.

Numbers only, nothing of any runtime.

Everything accumulates batch by batch in float64, so that ten thousand samples need no more memory
than one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.quant import QuantizedTensor
from edgeq.results import Accuracy, Drift

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Tensor = QuantizedTensor | NDArray[np.float32]

LSB_LIMIT = 8
"""Differences of more quantisation steps are counted at this many."""

_Z95 = 1.959963984540054  # the standard normal's 97.5 % quantile


def wilson(correct: int, total: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson, Probable inference, 1927), which never leaves [0, 1].

    Returns:
        Its ends, as fractions; (0, 1) where there are no samples.
    """
    if total == 0:
        return 0.0, 1.0
    share, square = correct / total, _Z95 * _Z95
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = (
        _Z95
        / (1 + square / total)
        * math.sqrt(share * (1 - share) / total + square / (4 * total * total))
    )
    return (0.0 if correct == 0 else max(0.0, middle - half)), (
        1.0 if correct == total else min(1.0, middle + half)
    )


def accuracy(correct: NDArray[np.bool_]) -> Accuracy:
    """Top-1 accuracy of samples answered right or wrong, (samples,)."""
    return share_right(int(correct.sum()), len(correct))


def share_right(right: int, total: int) -> Accuracy:
    """The accuracy of so many right answers among so many."""
    return Accuracy(right, total, *wilson(right, total))


def near_chance(scored: Accuracy, classes: int) -> bool:
    """Whether an accuracy is one that guessing may reach.

    Its interval reaches it, or it is hardly better.
    """
    return classes > 1 and (scored.low <= 1 / classes or hardly_better(scored, classes))


def hardly_better(scored: Accuracy, classes: int) -> bool:
    """Whether it is at most twice as often right as guessing, and at most a twentieth of the way from guessing to certainty."""
    chance = 1 / classes
    return scored.fraction <= min(2 * chance, chance + (1 - chance) / 20)


def top1(output: NDArray[np.float32]) -> NDArray[np.int64]:
    """The answer for each sample of a batch, (samples, ...).

    The index of its largest value, the first of equals.
    """
    best: NDArray[np.int64] = output.reshape(len(output), -1).argmax(axis=1)
    return best


def mcnemar(losses: int, gains: int) -> float:
    """How likely at least this uneven a split of changed answers is when neither side is better.

    Exact and two-sided.

    McNemar, Note on the sampling error of the difference between correlated proportions, 1947; the
    binomial form.

    Args:
        losses: samples that the first got right and the second wrong.
        gains: samples that the first got wrong and the second right.

    Returns:
        The p-value, in [0, 1].
    """
    changed = losses + gains
    tail: int = 1
    ways: int = 1
    for k in range(min(losses, gains)):
        ways = ways * (changed - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * tail / (1 << changed))


def pooled_mse(drifts: Iterable[Drift]) -> float:
    """The mean squared difference over the values of several tensors together, in squared real units; 0 for none.

    What Ben-Yair, Eliasof and Treister (Quantized convolutional neural networks through the lens of
    partial differential equations, Eq. 3) report over all blocks of a network; the numbers printed
    by their code are its root.
    """
    parts = [(drift.mse, drift.elements) for drift in drifts]
    elements = sum(count for _, count in parts)
    return math.fsum(mse * count for mse, count in parts) / elements if elements else 0.0


class StepMeter:
    """Counts differences in quantisation steps.

    A histogram that ends at ``LSB_LIMIT``, and the largest, as large as it is.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(2 * LSB_LIMIT + 1, np.int64)
        self.largest = 0

    def update(self, steps: NDArray[np.integer]) -> None:
        """Add differences, of any shape."""
        steps = steps.astype(np.int64, copy=False)
        self.largest = max(self.largest, int(np.abs(steps).max(initial=0)))
        self._counts += np.bincount(
            np.clip(steps, -LSB_LIMIT, LSB_LIMIT).ravel() + LSB_LIMIT, minlength=len(self._counts)
        )

    @property
    def histogram(self) -> dict[int, int]:
        """Difference to number of values; those beyond ``LSB_LIMIT`` are counted there."""
        return {step - LSB_LIMIT: int(count) for step, count in enumerate(self._counts) if count}


class DriftMeter:
    """Accumulates the difference between one tensor of two stages.

    Args:
        tensor: its name, for the record.
        depth: its position in the graph, from 0.
    """

    def __init__(self, tensor: str, depth: int = 0) -> None:
        self.tensor = tensor
        self.depth = depth
        self._elements = 0
        self._difference = self._signal = self._other = self._product = self._largest = 0.0
        self._steps = StepMeter()
        self._common_grid = True

    def update(self, reference: Tensor, other: Tensor) -> None:
        """Add one batch.

        Args:
            reference: the values taken as true, of any shape.
            other: the values compared with them, of the same shape.

        Raises:
            ArtefactError: the shapes differ.
        """
        true, found = _real(reference), _real(other)
        if true.shape != found.shape:
            raise ArtefactError(
                f"the tensor {self.tensor!r} has the shape {true.shape} in one stage and "
                f"{found.shape} in the other",
                hint="compare artefacts of the same network",
            )
        difference = found - true
        self._elements += true.size
        self._difference += _dot(difference, difference)
        self._signal += _dot(true, true)
        self._other += _dot(found, found)
        self._product += _dot(true, found)
        self._largest = max(self._largest, float(np.abs(difference).max(initial=0.0)))
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
        mse = self._difference / self._elements if self._elements else 0.0
        return Drift(
            tensor=self.tensor,
            depth=self.depth,
            elements=self._elements,
            mse=mse,
            rmse=math.sqrt(mse),
            sqnr_db=_decibel(self._signal, self._difference),
            cosine=self._cosine(),
            max_abs=self._largest,
            lsb=self._steps.histogram if self._common_grid else {},
            max_lsb=self._steps.largest if self._common_grid and self._elements else None,
        )

    def _cosine(self) -> float:
        if self._difference == 0:
            return 1.0
        length = math.sqrt(self._signal) * math.sqrt(self._other)
        return self._product / length if length else 0.0


def _real(tensor: Tensor) -> NDArray[np.float64]:
    values = tensor.dequantize() if isinstance(tensor, QuantizedTensor) else tensor
    return values.astype(np.float64)


def _dot(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.vdot(a, b))


def _same_grid(a: Tensor, b: Tensor) -> bool:
    if not isinstance(a, QuantizedTensor) or not isinstance(b, QuantizedTensor):
        return False
    return a.params.axis == b.params.axis and np.array_equal(a.params.scale, b.params.scale)


def _decibel(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf
