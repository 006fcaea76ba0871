"""A transpose of many axes as transposes of few, for kernels of limited rank.

Axes that stay side by side are one axis to a transpose, and an axis of one element is none. What
has too many axes even so is split: each part brings as many axes to the front as fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Turn:
    """One transpose of a tensor that is seen as one of few axes.

    Attributes:
        shape: the tensor's shape before it, with the same elements.
        perm: the axis of ``shape`` that each axis of the result is.
    """

    shape: tuple[int, ...]
    perm: tuple[int, ...]

    @property
    def result(self) -> tuple[int, ...]:
        """The shape after it."""
        return tuple(self.shape[axis] for axis in self.perm)


def turns(shape: Sequence[int], perm: Sequence[int], most: float) -> list[Turn]:
    """The transposes that together are a transpose.

    The elements of the last one's result are those of the whole, in the same order.

    Args:
        shape: of the tensor.
        perm: the axis of ``shape`` that each axis of the whole result is.
        most: axes that a kernel takes; at least 4.
    """
    merged = _merged(shape, perm)
    rank = len(merged.perm)
    if rank <= most:
        return [merged]
    fronts = (merged.perm[:count] for count in range(rank - 1, 0, -1))
    orders = (front + tuple(each for each in range(rank) if each not in front) for front in fronts)
    order = next(each for each in orders if len(_merged(merged.shape, each).perm) <= most)
    first = _merged(merged.shape, order)
    between = [merged.shape[axis] for axis in order]
    return [first, *turns(between, [order.index(axis) for axis in merged.perm], most)]


def _merged(shape: Sequence[int], perm: Sequence[int]) -> Turn:
    """The same transpose with the fewest axes."""
    moved = [axis for axis in perm if shape[axis] != 1]
    rank_of = {axis: rank for rank, axis in enumerate(sorted(moved))}
    runs: list[list[int]] = []
    for axis in moved:
        if runs and rank_of[runs[-1][-1]] + 1 == rank_of[axis]:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    in_source = sorted(runs)
    return Turn(
        tuple(math.prod(shape[axis] for axis in run) for run in in_source),
        tuple(in_source.index(run) for run in runs),
    )
