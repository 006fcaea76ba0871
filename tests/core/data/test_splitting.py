"""The splits are pinned: these checks fail when a sample would move from one split to another."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq.data.preprocessing import Preprocessing
from edgeq.data.source import DataSource, make_split
from edgeq.data.splitting import (
    First,
    fewer,
    hold_out_tenth,
    limited,
    read_limit,
    shuffled,
    spread,
    stratified,
)

PINNED_8 = [3, 1, 5, 2, 6, 4, 0, 7]
PINNED_50000 = "c72f51604bda8733620b2d659d30613f3db92b608e6ae8ae6b2a5ca136e3af43"


def test_the_shuffle_is_the_same_on_every_machine() -> None:
    assert shuffled(8).tolist() == PINNED_8
    assert hashlib.sha256(shuffled(50_000).astype("<i8").tobytes()).hexdigest() == PINNED_50000


@given(st.integers(1, 500), st.integers(0, 99))
def test_the_shuffle_is_a_permutation(count: int, seed: int) -> None:
    assert sorted(shuffled(count, seed)) == list(range(count))


@pytest.mark.parametrize(
    ("count", "validating"),
    [(50_000, 5_000), (60_000, 6_000), (4_000, 400), (11, 1), (2, 1), (1, 0)],
)
def test_a_tenth_validates_and_nothing_is_lost(count: int, validating: int) -> None:
    split = make_split(np.zeros((count, 1, 1, 1), np.uint8), np.zeros(count, np.int64), 1, "here")
    train, validation = hold_out_tenth(split)
    assert len(validation) == validating
    assert sorted([*train.ids, *validation.ids]) == list(range(count))
    assert (np.diff(train.ids) > 0).all()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=200), st.data())
def test_stratified_takes_each_class_its_share(classes: list[int], data: st.DataObject) -> None:
    labels = np.array(classes, np.int64)
    count = data.draw(st.integers(0, len(labels)))
    chosen = stratified(labels, count)
    assert chosen.sum() == count
    share = count / len(labels)
    for label in range(4):
        here = labels == label
        assert abs(chosen[here].sum() - share * here.sum()) < 1 + 1e-9


@given(st.integers(1, 300), st.integers(0, 3_000))
def test_each_stretch_gives_one_sample(count: int, more: int) -> None:
    total = count + more
    where = spread(count, total)
    assert (where >= np.arange(count) * total // count).all()
    assert (where < np.arange(1, count + 1) * total // count).all()


@pytest.mark.parametrize("order", ["sorted", "in turn"])
def test_a_part_holds_each_class_as_often_as_the_whole(order: str) -> None:
    classes = np.arange(10_000) * 10 // 10_000 if order == "sorted" else np.arange(10_000) % 10
    for count in (100, 250, 1_000):
        met = np.bincount(classes[spread(count, 10_000)], minlength=10)
        assert np.abs(met - count / 10).max() <= 4
    assert spread(5, 10_000).tolist() == spread(5, 10_000).tolist() == [0, 3236, 4472, 7708, 8944]


def test_a_limit_narrows_one_part_and_says_which_samples() -> None:
    labels = np.arange(40, dtype=np.int64) // 10
    part = make_split(np.zeros((40, 1, 1, 1), np.uint8), labels, 4, "here")
    source = DataSource("some", tuple("abcd"), part, part, part, Preprocessing())
    even = limited(source, "test", 8)
    assert np.bincount(even.test.class_labels).tolist() == [2, 2, 2, 2]
    assert len(even.train) == 40
    assert even.remark.startswith("8 of 40 samples of some test are used, spread evenly over them")
    first = limited(source, "validation", First(8))
    assert first.validation.ids.tolist() == list(range(8))
    assert first.remark == "the first 8 of 40 samples of some validation are used"
    assert limited(source, "test", None) is limited(source, "test", 40) is source


def test_a_limit_is_a_number_or_the_first_so_many() -> None:
    assert (read_limit("200"), type(read_limit("200"))) == (200, int)
    assert (read_limit("first:200"), str(read_limit("first:200"))) == (200, "first:200")
    assert [fewer(None, 64), fewer(10, 64), fewer(100, 64)] == [64, 10, 64]
    assert isinstance(fewer(First(100), 64), First)
    with pytest.raises(ValueError, match="few"):
        read_limit("first:few")
