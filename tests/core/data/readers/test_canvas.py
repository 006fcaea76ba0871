"""The data sets of canvases: the same pixels everywhere, and labels that belong to them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from edgeq.data import Boxes, DataSource, load
from edgeq.data.readers import canvas, digits

SHA256 = "9094f67d1581f57745bb8f77ca8aa0749c4f919f955d31bba8c9fa3f0a521f58"


@pytest.fixture(scope="module", params=["digits-detection", "digits-segmentation"])
def source(request: pytest.FixtureRequest) -> DataSource:
    return load(request.param)


def test_the_pixels_are_the_same_on_every_machine(source: DataSource) -> None:
    content = hashlib.sha256()
    for part in (source.train, source.validation, source.test):
        content.update(part.images[:].tobytes())
    assert content.hexdigest() == SHA256
    assert source.shape == (1, 64, 64)


def test_each_split_shows_digits_of_its_own() -> None:
    known = digits.read(())
    for name, count in canvas.COUNTS.items():
        made = canvas.canvases(name)
        assert len(made.images) == len(made.boxes) == len(made.masks) == count
        assert {int(kind) for boxes in made.boxes for kind in boxes.classes} == set(range(10))
    assert len(known.train) + len(known.validation) + len(known.test) == 1797


def test_boxes_hold_the_ink_of_their_digit() -> None:
    made = canvas.canvases("validation")
    for image, boxes, mask in zip(made.images, made.boxes, made.masks, strict=True):
        assert 1 <= len(boxes) <= canvas.MOST_DIGITS
        inside = np.zeros_like(mask, bool)
        for corners, kind in zip(boxes.corners.astype(int), boxes.classes, strict=True):
            left, top, right, bottom = corners
            here = np.s_[top:bottom, left:right]
            assert not inside[here].any(), "boxes do not overlap"
            inside[here] = True
            ink = mask[here] == kind + 1
            assert ink.any(0).all() or ink.any(0)[[0, -1]].all(), "tight in width"
            assert ink.any(1)[[0, -1]].all(), "tight in height"
            assert (image[here][ink] >= 80).all()
        assert not mask[~inside].any(), "no ink outside"


def test_columns_count_the_digits(source: DataSource) -> None:
    labels = source.test.labels
    assert labels is not None
    counts = source.test.columns["digits"]
    if source.task == "mAP":
        assert all(isinstance(boxes, Boxes) for boxes in labels[:5])
        assert [len(boxes) for boxes in labels[:50]] == counts[:50].tolist()
    else:
        assert labels[:5].shape == (5, 64, 64)
        assert labels[:].max() == 10


def test_scaling_is_bilinear_at_pixel_centres() -> None:
    image = np.array([[0, 100], [200, 255]], np.uint8)
    assert canvas.scaled(image, 2, 2).tolist() == image.tolist()
    assert canvas.scaled(image, 1, 4).tolist() == [[100, 119, 158, 178]]
    assert canvas.scaled(image, 4, 1)[:, 0].tolist() == [50, 94, 183, 228]
