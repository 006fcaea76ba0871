"""Errors by group: by channel, by position, by class, or by the degree of a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.results import DegreeError

if TYPE_CHECKING:
    from collections.abc import Iterable

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


def errors_by_degree(
    pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]], edges: NDArray[np.int64], nodes: int
) -> tuple[DegreeError, ...]:
    """The errors of states by the degree of nodes: 0, 1, 2, 3 to 4, 5 to 8, and so on.

    Args:
        pairs: states taken as true and others, each (nodes, ...).
        edges: int64, (2, edges), in one direction or both.
        nodes: how many there are.
    """
    single = np.unique(np.sort(edges, axis=0), axis=1)
    ends = single[:, single[0] != single[1]].reshape(-1)
    degrees = np.bincount(ends, minlength=nodes)
    doubled = np.ceil(np.log2(np.maximum(degrees, 1))).astype(np.int64) + 1
    group = np.where(degrees == 0, 0, doubled)
    errors = GroupedErrors(int(group.max()) + 1)
    for reference, other in pairs:
        errors.of(reference, other, group)
    return tuple(
        DegreeError(
            int(degrees[group == i].min()),
            int(degrees[group == i].max()),
            int((group == i).sum()),
            float(errors.mse[i]),
            float(errors.sqnr_db[i]),
        )
        for i in range(int(group.max()) + 1)
        if (group == i).any()
    )
