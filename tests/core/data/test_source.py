"""A split is checked when it is made, and a source knows its shape and its normalisation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edgeq.data.preprocessing import Preprocessing
from edgeq.data.source import DataSource, make_split
from edgeq.errors import ArtefactError, UsageError

IMAGES = np.zeros((4, 5, 6, 3), np.uint8)
LABELS = np.array([0, 1, 2, 1], np.uint8)


def source() -> DataSource:
    split = make_split(IMAGES, LABELS, 3, "here")
    return DataSource(
        "some",
        ("a", "b", "c"),
        split,
        split,
        split,
        Preprocessing.normalized((0.5,) * 3, (0.25,) * 3),
    )


def test_gives_a_split_its_types_and_positions_for_ids() -> None:
    split = make_split(IMAGES[..., 0], LABELS, 3, "here")
    assert split.images.shape == (4, 5, 6, 1)
    assert split.class_labels.dtype == np.int64
    assert split.ids.tolist() == [0, 1, 2, 3]
    assert len(split) == 4


def test_take_keeps_image_label_and_id_together() -> None:
    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    taken = make_split(images, LABELS, 3, "here", np.array([40, 41, 42, 43])).take(np.array([2, 0]))
    assert taken.images[:].ravel().tolist() == [2, 0]
    assert taken.class_labels.tolist() == [2, 0]
    assert taken.ids.tolist() == [42, 40]


@pytest.mark.parametrize(
    ("images", "labels", "ids", "said"),
    [
        (IMAGES.astype(np.float32), LABELS, None, "images are float32"),
        (IMAGES[0, 0], LABELS, None, "shape \\(6, 3\\)"),
        (IMAGES[:0], LABELS[:0], None, "shape \\(0, 5, 6, 3\\)"),
        (IMAGES, LABELS[:3], None, "4 images, but its labels have the shape \\(3,\\)"),
        (IMAGES, LABELS.astype(np.float32), None, "labels are float32"),
        (IMAGES, np.array([0, 1, 3, 1]), None, "sample 2 has the label 3, and there are 3 classes"),
        (IMAGES, np.array([0, -1, 2, 1]), None, "sample 1 has the label -1"),
        (IMAGES, LABELS, np.array([1, 2, 3]), "ids have the shape"),
        (IMAGES, LABELS, np.array([1, 2, 3, 3]), "not unique"),
    ],
)
def test_refuses_what_is_no_split(images: Any, labels: Any, ids: Any, said: str) -> None:
    with pytest.raises(ArtefactError, match=said) as caught:
        make_split(images, labels, 3, "some/file.npz", ids)
    assert "some/file.npz" in caught.value.what


def test_shape_is_channels_first() -> None:
    assert source().shape == (3, 5, 6)


def test_with_normalization_changes_a_copy() -> None:
    old = source()
    new = old.with_normalization((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert (new.mean, new.std) == ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert old.mean == (0.5, 0.5, 0.5)
    assert new.test is old.test


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0.5,) * 2, (1.0,) * 2),
        ((0.5,) * 3, (1.0,) * 2),
        ((0.5,) * 3, (1.0, 0.0, 1.0)),
        ((math.nan, 0, 0), (1.0,) * 3),
        ((0.0,) * 3, (math.inf,) * 3),
    ],
)
def test_refuses_what_cannot_normalise(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(UsageError):
        source().with_normalization(mean, std)
