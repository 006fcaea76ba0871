"""Range observers: each finds the range of a tensor from batches that it sees once and never keeps.

One method a file, by entry point in ``edgeq.observers``. Memory does not grow with the number of
samples, but for ``minmax-percentile`` and ``moving-average``, which keep two numbers a record: the
one by its definition, the other because an average of parts is not the average of the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from edgeq.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray


class RangeObserver(Protocol):
    """Watches one tensor, or several that share a grid.

    One with an attribute ``divisible`` that is true finds the same range however the samples are
    divided into batches, and is shown smaller ones, which need less memory. One with an attribute
    ``of_extremes`` that is true needs nothing but the minimum and the maximum of each batch, and is
    shown a few numbers that have them. One with an attribute ``takes_extremes`` that is true is
    given the two as a second argument of ``update``, and need not look for them again.
    """

    def update(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch, (samples, ...), finite."""
        ...

    def range(self, bits: int) -> tuple[float, float]:
        """The minimum and maximum that the grid has to reach; ``(0.0, 0.0)`` for no values.

        Args:
            bits: the width of the grid; its range is widened to hold zero.
        """
        ...


class MergeableObserver(RangeObserver, Protocol):
    """An observer whose statistics can be kept in a file, and put together from parts."""

    def state(self) -> dict[str, NDArray[Any]]:
        """What was seen, exactly, as arrays by name."""
        ...

    def merge(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take in what another one saw behind what this one did.

        The result is that of one observer that saw all of it, bit for bit.
        """
        ...


def is_mergeable(observer: RangeObserver) -> TypeGuard[MergeableObserver]:
    """Whether the statistics of an observer can be kept; sooner than ``isinstance`` finds out."""
    return all(callable(getattr(observer, name, None)) for name in ("state", "merge"))


OBSERVERS: Registry[Callable[[], RangeObserver]] = Registry("observer")
"""What makes the observer of one tensor, by the name that a user types."""
