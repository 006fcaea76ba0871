"""Samples that are read when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.data.samples import Names, Samples, Subset, choose

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Counted:
    """Numbers that count how many of them were read."""

    def __init__(self) -> None:
        self.read = 0
        self.shape, self.dtype = (10, 2), np.dtype(np.int64)

    def __len__(self) -> int:
        return 10

    def __getitem__(self, where: slice | NDArray[np.int64]) -> NDArray[Any]:
        found = np.arange(20).reshape(10, 2)[where]
        self.read += len(found)
        return found


def test_arrays_are_samples_and_chosen_as_a_copy() -> None:
    array = np.arange(6).reshape(3, 2)
    assert isinstance(array, Samples)
    chosen = choose(array, np.array([2, 0]))
    assert chosen[:].tolist() == [[4, 5], [0, 1]]


def test_others_are_chosen_without_reading_any() -> None:
    counted = Counted()
    chosen = choose(choose(counted, np.array([9, 5, 1, 3])), np.array([3, 0]))
    assert isinstance(chosen, Subset)
    assert (counted.read, chosen.shape, chosen.dtype.name) == (0, (2, 2), "int64")
    assert chosen[1:].tolist() == [[18, 19]]
    assert chosen[:].tolist() == [[6, 7], [18, 19]]
    assert counted.read == 3


def test_names_are_packed_and_taken_like_a_list() -> None:
    given = ["a.png", "", "größe/ü.png", "\udcff.png"]
    names = Names.of(iter(given))
    assert list(names) == given
    assert (len(names), names[-1], list(names[1:3])) == (4, given[-1], given[1:3])
    assert list(names.take(np.array([2, 0]))) == [given[2], given[0]]
