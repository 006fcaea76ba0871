"""Statistics of parts are those of one run, bit for bit, in memory and in a file."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.calibration.checked_plugins import CheckedObserver
from edgeq.calibration.observers import OBSERVERS
from edgeq.calibration.statistics import Origin, Statistics, digest_of, merged
from edgeq.calibration.statistics.file import from_bytes, to_bytes
from edgeq.errors import ArtefactError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeq.calibration.observers import RangeObserver

ORIGIN = Origin("network", "any", "numbers")
NAMES = ("minmax", "percentile", "minmax-percentile", "moving-average", "mse", "entropy")
BATCHES = st.lists(
    st.lists(st.floats(-1e9, 1e9, width=32), min_size=0, max_size=20), min_size=1, max_size=8
)


def seen(name: str, batches: Sequence[NDArray[np.float32]], first: int = 0) -> Statistics:
    made = Statistics(
        ORIGIN, ["a", "b"], lambda: CheckedObserver(name, OBSERVERS.load(name)), first
    )
    for batch in batches:
        made.observers["a"].update(batch)
        made.observers["b"].update(-2 * batch)
        made.digests.append(digest_of(batch))
        made.samples += len(batch)
    return made


def numbers(statistics: Statistics) -> object:
    return (
        statistics.samples,
        statistics.data_sha256,
        to_bytes(statistics),
    )


def reread(statistics: Statistics, name: str) -> Statistics:
    make = lambda: CheckedObserver(name, OBSERVERS.load(name))  # noqa: E731
    return from_bytes(to_bytes(statistics), make, "a file").statistics


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25)
@given(BATCHES, st.data())
def test_shards_in_any_order_give_the_bits_of_one_run(
    name: str, values: list[list[float]], data: st.DataObject
) -> None:
    batches = [np.array([batch], np.float32) for batch in values]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(batches)), max_size=3)))
    ends = [0, *cuts, len(batches)]
    parts = [
        reread(seen(name, batches[first:last], first), name)
        for first, last in pairwise(ends)
        if first < last
    ]
    parts = data.draw(st.permutations(parts))
    whole, one_run = merged(parts), seen(name, batches)
    assert numbers(whole) == numbers(one_run)


@pytest.mark.parametrize("name", NAMES)
def test_statistics_read_from_a_file_give_the_same_ranges(name: str) -> None:
    batches = [np.random.default_rng(i).normal(size=(4, 9)).astype(np.float32) for i in range(3)]
    statistics = seen(name, batches)
    for grid, observer in reread(statistics, name).observers.items():
        assert observer.range(8) == statistics.observers[grid].range(8)


def test_a_missing_shard_and_one_given_twice_are_refused() -> None:
    batches = [np.full((1, 2), value, np.float32) for value in range(4)]
    parts = [seen("minmax", batches[i : i + 1], i) for i in range(4)]
    with pytest.raises(ArtefactError, match="up to 1 and then those from 2"):
        merged([parts[0], parts[2]])
    with pytest.raises(ArtefactError, match="up to 1 and then those from 0"):
        merged([parts[0], parts[0]])


def test_other_samples_than_were_seen_are_refused() -> None:
    batch = np.zeros((1, 2), np.float32)
    statistics = seen("minmax", [batch])
    assert statistics.was_seen(0, digest_of(batch))
    assert not statistics.was_seen(1, digest_of(batch))
    with pytest.raises(ArtefactError, match="batch 0 of numbers is another one"):
        statistics.was_seen(0, digest_of(batch + 1))


def test_statistics_of_something_else_are_refused() -> None:
    for other, said in (
        (Origin("other", "any", "numbers"), "of another network"),
        (Origin("network", "mse", "numbers"), "'mse', and 'any' is asked for"),
        (Origin("network", "any", "letters"), "the data 'letters'"),
    ):
        with pytest.raises(ArtefactError, match=said):
            other.check(ORIGIN, "a file")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no statistics"),
        (b"\x10" + 7 * b"\0" + b"not json", "holds no statistics"),
        (to_bytes(seen("minmax", []))[:-4], "holds no statistics"),
        (to_bytes(seen("minmax", [])).replace(b"statistics/1", b"statistics/9"), "statistics/9"),
        (to_bytes(seen("moving-average", [])), "incomplete: 'extremes'"),
        (to_bytes(seen("minmax", [])).replace(b"digests", b"digestz"), "incomplete: 'digests'"),
    ],
)
def test_a_file_that_is_none_is_refused(content: bytes, said: str) -> None:
    make = lambda: CheckedObserver("minmax", OBSERVERS.load("minmax"))  # noqa: E731
    with pytest.raises(ArtefactError, match=said):
        from_bytes(content, make, "a file")


def test_statistics_of_another_observer_are_not_called_broken() -> None:
    make = lambda: CheckedObserver("mse", OBSERVERS.load("mse"))  # noqa: E731
    content = to_bytes(seen("minmax", []))
    with pytest.raises(ArtefactError, match="and 'mse' is asked for") as told:
        from_bytes(content, make, "a file", measured_by="mse")
    assert "remove" not in told.value.hint


class Plain:
    """An observer of another package that tells nothing of what it saw."""

    def update(self, batch: NDArray[np.float32]) -> None:
        pass

    def range(self, bits: int) -> tuple[float, float]:
        return 0.0, 1.0


def test_an_observer_that_does_not_tell_is_refused_by_name() -> None:
    make: type[RangeObserver] = Plain
    observer = CheckedObserver("plain", make)
    assert not observer.mergeable
    with pytest.raises(UsageError, match="the observer 'plain' has no state"):
        observer.state()
    with pytest.raises(UsageError, match="the observer 'plain' has no state"):
        observer.merge({})
