"""Batches hold the normalised images, and never more than one batch is in memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from edgeq.data import DataSource, Preprocessing, batches, load, normalize
from edgeq.data.batching import arranged, way_to
from edgeq.data.source import make_split
from edgeq.errors import UsageError


@pytest.fixture(scope="module")
def source() -> DataSource:
    return load("digits")


def test_normalises_each_channel_with_its_own_numbers() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 2), dtype=np.uint8)
    split = make_split(images, np.zeros(3, np.int64), 1, "here")
    source = DataSource(
        "some",
        ("a",),
        split,
        split,
        split,
        Preprocessing.normalized((0.1, 0.6), (0.5, 2.0)),
    )
    result = normalize(images, source)
    assert (result.dtype.name, result.shape, result.flags.c_contiguous) == (
        "float32",
        (3, 2, 4, 5),
        True,
    )
    assert result[1, 0, 2, 3] == pytest.approx((images[1, 2, 3, 0] / 255 - 0.1) / 0.5, rel=1e-5)
    assert result[1, 1, 2, 3] == pytest.approx((images[1, 2, 3, 1] / 255 - 0.6) / 2.0, rel=1e-5)


def test_batches_cover_the_split_in_order(source: DataSource) -> None:
    parts = list(batches(source.test, source, 100))
    assert [len(labels) for _, labels in parts] == [100, 100, 100, 60]
    assert np.array_equal(
        np.concatenate([images for images, _ in parts]), normalize(source.test.images, source)
    )
    assert np.array_equal(np.concatenate([labels for _, labels in parts]), source.test.class_labels)


@pytest.mark.parametrize("size", [0, -1])
def test_refuses_an_empty_batch_at_once(source: DataSource, size: int) -> None:
    with pytest.raises(UsageError):
        batches(source.test, source, size)


def test_memory_does_not_grow_with_the_data_set() -> None:
    split = make_split(np.zeros((4000, 32, 32, 3), np.uint8), np.zeros(4000, np.int64), 1, "here")
    source = DataSource(
        "some",
        ("a",),
        split,
        split,
        split,
        Preprocessing.normalized((0.5,) * 3, (0.5,) * 3),
    )
    one_batch = 100 * 3 * 32 * 32 * 4
    tracemalloc.start()
    for _ in batches(split, source, 100):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * one_batch


@pytest.mark.parametrize(
    ("want", "have", "fed"),
    [
        ((8, 9, 3), (3, 8, 9), (8, 9, 3)),
        ((None, None, 3), (3, 8, 9), (8, 9, 3)),
        ((1, 40), (40,), (1, 40)),
        ((40, 1), (40,), (40, 1)),
        ((1, 8, 9), (8, 9), (1, 8, 9)),
        ((3, 8, 9), (8, 9, 3), None),
        ((41,), (40,), None),
        ((2, 40), (40,), None),
    ],
)
def test_axes_are_arranged_where_there_is_one_way(want: Any, have: Any, fed: Any) -> None:
    found = arranged(np.zeros((2, *have)), want)
    assert (None if found is None else found.shape[1:]) == fed


@pytest.mark.parametrize(
    ("want", "have", "said"),
    [
        ((3, 8, 8), (8, 8, 3), "transpose(0, 3, 1, 2)"),
        ((3, 8, None), (8, 8, 3), "transpose(0, 3, 1, 2)"),
        ((3, 8, 8), (3, 9, 9), "--resize 8x8"),
        ((1, 8, 8), (3, 8, 8), "--channels grey makes"),
        ((3, 8, 8), (1, 8, 8), "--channels grey-to-rgb"),
        ((1, 49, 32), (16000,), "--audio log-mel:mels=32"),
        ((1, 8000), (16000,), "--audio raw:length=8000"),
        ((40,), (3, 8, 8), "choose the data set"),
    ],
)
def test_what_brings_samples_to_another_shape_is_told(want: Any, have: Any, said: str) -> None:
    assert said in way_to(want, have)
