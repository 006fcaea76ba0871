"""The splits are pinned: these checks fail when a sample would move from one split to another."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq.data.source import make_split
from edgeq.data.splitting import hold_out_tenth, shuffled, stratified

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
