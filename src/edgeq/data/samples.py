"""Samples that are read when they are asked for, so that memory does not grow with their number."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, overload, runtime_checkable

import numpy as np

from edgeq.brief import brief

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

_CHANNELS = (1, 3, 4)


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


def places(where: slice | NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The positions that a key means among so many samples, int64."""
    if isinstance(where, slice):
        return np.arange(*where.indices(count))
    return np.arange(count)[where]


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


class LeftOut(NamedTuple):
    """Something that files hold and that is not read.

    Attributes:
        what: in words that end a sentence: ``transparency, which is left out``.
        hint: what to do where it counts.
    """

    what: str
    hint: str


class LookedAt(NamedTuple):
    """What a look at a file tells of its sample.

    Attributes:
        size: its dimensions.
        left_out: what the file holds besides, and is not read.
    """

    size: tuple[int, ...]
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Files(ABC):
    """Samples in files of their own, of shapes that may differ.

    Attributes:
        folder: where the paths begin.
        paths: of the files, below the folder.
    """

    folder: Path
    paths: Sequence[str]

    @property
    def shape(self) -> tuple[int, ...]:
        """(n,): each sample is an array of its own."""
        return (len(self.paths),)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the array of samples."""
        return np.dtype(object)

    def __len__(self) -> int:
        return len(self.paths)

    def path(self, place: int) -> str:
        """The file at a position, as a text: ``Path`` keeps each part of each path for a while."""
        return os.path.join(self.folder, self.paths[place])  # noqa: PTH118

    def at(self, where: slice | NDArray[np.int64]) -> list[str]:
        """The files at some positions."""
        return [self.path(int(i)) for i in places(where, len(self.paths))]

    @abstractmethod
    def look(self, place: int) -> LookedAt:
        """What a sample is, of which no more is read than tells whether it is whole.

        Raises:
            ArtefactError: the file is missing or broken.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Rearranged:
    """Images with their channels behind, of others.

    Attributes:
        samples: (n, height, width) or of four axes.
        axes: which axis of those comes where; a fourth is added to three.
    """

    samples: Samples
    axes: tuple[int, ...]

    __repr__ = brief

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, height, width, channels)."""
        shape = (*self.samples.shape, 1)
        return tuple(shape[axis] for axis in self.axes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """As the samples'."""
        return self.samples.dtype

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, where: slice | NDArray[np.int64]) -> NDArray[Any]:
        found = self.samples[where]
        return found.reshape(*found.shape, *(1,) * (4 - found.ndim)).transpose(self.axes)


def with_channels_behind(samples: Samples) -> Samples:
    """Eight-bit arrays of three or four axes as images (n, height, width, channels)."""
    if samples.dtype != np.uint8 or len(samples.shape) not in (3, 4):
        return samples
    if isinstance(samples, np.ndarray) and samples.ndim == 3:
        return samples[..., np.newaxis]
    if len(samples.shape) == 3:
        return Rearranged(samples, (0, 1, 2, 3))
    behind = samples.shape[-1] not in _CHANNELS and samples.shape[1] in _CHANNELS
    return Rearranged(samples, (0, 2, 3, 1)) if behind else samples


@dataclass(frozen=True, slots=True, eq=False)
class Names(Sequence[str]):
    """Many short texts, such as paths, in a fifth of the memory that a list of them needs.

    Attributes:
        text: all of them, end to end, in UTF-8.
        ends: uint32, (n,), where each of them ends; uint64 of more text than that can count.
    """

    text: bytes
    ends: NDArray[np.unsignedinteger]

    __repr__ = brief

    @classmethod
    def of(cls, names: Iterable[str]) -> Names:
        """These names, each of which is asked for once."""
        text, ends = bytearray(), array("q")
        for name in names:
            text += name.encode("utf-8", "surrogateescape")
            ends.append(len(text))
        kind = np.uint32 if len(text) <= np.iinfo(np.uint32).max else np.uint64
        return cls(bytes(text), np.array(ends, kind))

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, where: int) -> str: ...

    @overload
    def __getitem__(self, where: slice) -> Names: ...

    def __getitem__(self, where: int | slice) -> str | Names:
        if isinstance(where, slice):
            return self.take(places(where, len(self)))
        position = range(len(self))[where]
        begin = int(self.ends[position - 1]) if position else 0
        return self.text[begin : int(self.ends[position])].decode("utf-8", "surrogateescape")

    def take(self, where: NDArray[np.int64]) -> Names:
        """Those at these positions, in this order."""
        return Names.of(self[int(position)] for position in where)


@dataclass(frozen=True, slots=True, eq=False)
class SomeNames(Sequence[str]):
    """Some of other texts, in an order of their own.

    Attributes:
        names: those to choose from.
        where: int64, (n,), the place of each that is chosen.
    """

    names: Sequence[str]
    where: NDArray[np.int64]

    __repr__ = brief

    @classmethod
    def of(cls, names: Sequence[str], where: NDArray[np.int64]) -> SomeNames:
        """Those at these positions."""
        if isinstance(names, SomeNames):
            return cls(names.names, names.where[where])
        return cls(names, where)

    def __len__(self) -> int:
        return len(self.where)

    @overload
    def __getitem__(self, where: int) -> str: ...

    @overload
    def __getitem__(self, where: slice) -> SomeNames: ...

    def __getitem__(self, where: int | slice) -> str | SomeNames:
        if isinstance(where, slice):
            return SomeNames(self.names, self.where[where])
        return self.names[int(self.where[where])]
