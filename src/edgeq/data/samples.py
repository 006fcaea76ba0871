"""Samples that are read when they are asked for, so that memory does not grow with their number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from edgeq.brief import brief

if TYPE_CHECKING:
    from numpy.typing import NDArray


@runtime_checkable
class Samples(Protocol):
    """An array whose first axis counts samples; a ``numpy.ndarray`` is one.

    Samples that differ in size, such as photographs, are an array of objects: its shape is (n,),
    and each item an array of its own.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, *sample)."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the numbers, ``object`` where the samples differ in size."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, where: slice | NDArray[np.int64], /) -> NDArray[Any]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Subset:
    """Some of other samples, in an order of their own; none is read before it is asked for.

    Attributes:
        samples: those to choose from.
        where: int64, (n,), the place of each that is chosen.
    """

    samples: Samples
    where: NDArray[np.int64]

    __repr__ = brief

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, *sample)."""
        return (len(self.where), *self.samples.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """As the samples'."""
        return self.samples.dtype

    def __len__(self) -> int:
        return len(self.where)

    def __getitem__(self, where: slice | NDArray[np.int64]) -> NDArray[Any]:
        return self.samples[self.where[where]]


def choose(samples: Samples, where: NDArray[np.int64]) -> Samples:
    """The samples at these positions, in this order: a copy of an array in memory."""
    if isinstance(samples, np.ndarray):
        return samples[where]
    if isinstance(samples, Subset):
        return Subset(samples.samples, samples.where[where])
    return Subset(samples, where)


def ragged(items: list[NDArray[Any]]) -> NDArray[np.object_]:
    """Arrays that may differ in size, as an array of objects: (n,)."""
    found = np.empty(len(items), object)
    for position, item in enumerate(items):
        found[position] = item
    return found
