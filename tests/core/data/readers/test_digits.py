"""The embedded data set needs no file, and its splits never move."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from edgeq.data import DataSource, load


@pytest.fixture(scope="module")
def source() -> DataSource:
    return load("digits")


def test_sizes_shape_and_no_overlap(source: DataSource) -> None:
    parts = (source.train, source.validation, source.test)
    assert [len(part) for part in parts] == [1149, 288, 360]
    assert source.shape == (1, 8, 8)
    assert sorted(np.concatenate([part.ids for part in parts])) == list(range(1797))


def test_every_class_has_its_share(source: DataSource) -> None:
    shares = (
        np.bincount(
            np.concatenate(
                [part.class_labels for part in (source.train, source.validation, source.test)]
            )
        )
        / 1797
    )
    for part in (source.train, source.validation, source.test):
        assert np.abs(np.bincount(part.class_labels) - shares * len(part)).max() < 2


def test_grey_levels_are_scaled_with_rounding_half_up(source: DataSource) -> None:
    content: Any = load_digits()
    published = content.images
    assert np.array_equal(
        source.test.images[:][..., 0],
        np.floor(published[source.test.ids] * 255 / 16 + 0.5).astype(np.uint8),
    )
    assert np.array_equal(source.test.class_labels, content.target[source.test.ids])


def test_the_test_ids_are_pinned(source: DataSource) -> None:
    assert source.test.ids[:8].tolist() == [2, 6, 19, 23, 26, 36, 39, 45]
