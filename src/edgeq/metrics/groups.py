"""Errors by group: by channel, by position, by class, or by the degree of a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class GroupedErrors:
    """The mean squared error and the SQNR of each group, batch by batch.

    Args:
        groups: how many there are.
    """

    def __init__(self, groups: int) -> None:
        self._noise, self._signal = np.zeros(groups), np.zeros(groups)
        self._count = np.zeros(groups, np.int64)

    def along(self, reference: NDArray[Any], other: NDArray[Any], axis: int) -> None:
        """Add a batch whose groups are the places of an axis, such as channels or rows."""
        others = tuple(i for i in range(reference.ndim) if i != axis % reference.ndim)
        error = other.astype(np.float64) - reference
        self._noise += (error * error).sum(axis=others)
        self._signal += (reference.astype(np.float64) ** 2).sum(axis=others)
        self._count += reference.size // reference.shape[axis]

    def of(self, reference: NDArray[Any], other: NDArray[Any], group: NDArray[np.int64]) -> None:
        """Add a batch of which each sample, or node, belongs to one group.

        Args:
            reference: (n, ...), the values taken as true.
            other: of the same shape.
            group: the class of each sample, or the degree of each node, (n,).
        """
        flat = reference.reshape(len(reference), -1).astype(np.float64)
        error = other.reshape(len(other), -1) - flat
        size = len(self._noise)
        self._noise += np.bincount(group, (error * error).sum(axis=1), minlength=size)
        self._signal += np.bincount(group, (flat * flat).sum(axis=1), minlength=size)
        self._count += np.bincount(group, minlength=size) * flat.shape[1]

    @property
    def mse(self) -> NDArray[np.float64]:
        """The mean squared error of each group; NaN of one without values."""
        with np.errstate(invalid="ignore"):
            shares: NDArray[np.float64] = self._noise / self._count
        return shares

    @property
    def sqnr_db(self) -> NDArray[np.float64]:
        """The SQNR of each group; infinite where it has no error, NaN without values."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios: NDArray[np.float64] = 10 * np.log10(self._signal / self._noise)
        return np.where((self._noise == 0) & (self._count > 0), np.inf, ratios)
