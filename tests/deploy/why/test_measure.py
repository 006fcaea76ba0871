"""Which tensor of a recording is which of the first file's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.deploy.why.measure import by_names_of
from edgeq.diffing.replay import Operator
from edgeq.quant import QuantizedTensor, QuantParams

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgeq.diffing.replay import Recorded, Replayed
    from edgeq.target import Batch

GRIDS = {name: QuantParams.of(i / 8) for i, name in enumerate("abcd", start=1)}


class Chain:
    """Four operators, one behind the other."""

    operators = tuple(
        Operator(name, name, "Conv", i, grid, 1, (before,))
        for i, (name, grid, before) in enumerate(
            zip(GRIDS, GRIDS.values(), "xabc", strict=True), start=1
        )
    )

    def replay(self, batch: Batch, recorded: Mapping[str, Recorded]) -> Iterator[Replayed]:
        raise NotImplementedError


def seen(name: str, grid: str) -> dict[str, QuantizedTensor]:
    return {name: QuantizedTensor(np.zeros((1, 2), np.int8), GRIDS[grid])}


def test_few_tensors_of_the_same_name_are_themselves() -> None:
    few = {**seen("b_moved", "a"), **seen("b", "b")}
    assert by_names_of(Chain(), few) == {"b": few["b"]}


def test_tensors_of_other_names_are_paired_in_order() -> None:
    other = {**seen("5", "a"), **seen("7", "b"), **seen("8", "c"), **seen("9", "d")}
    assert list(by_names_of(Chain(), other)) == list("abcd")


def test_an_order_that_sets_tensors_of_one_name_apart_is_none() -> None:
    copies = {**seen("b", "b"), **seen("a copy", "a"), **seen("another", "c"), **seen("more", "d")}
    assert by_names_of(Chain(), copies) == {"b": copies["b"]}


def test_nothing_recorded_is_nothing() -> None:
    assert by_names_of(Chain(), {}) == {}
