"""Heads of YOLOv8: known boxes come back, in every form and layout of the family's exports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeq.errors import UsageError
from edgeq.tasks import TaskData
from edgeq.tasks.decoders import Settings, recognised
from edgeq.tasks.decoders.yolov8 import decoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES, BINS = ("a", "b", "c"), 8
SETTINGS = Settings(TaskData("made-up", CLASSES, (1, 32, 48)), score=0.5)
BOX, KIND, STRIDE = (6.0, 4.0, 26.0, 20.0), 1, 8
"""A box in pixels around the anchor of row 1 and column 2, whose middle is (20, 12)."""


def heads(boxes: int, rows: int, columns: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits of one level for two samples, the second of which shows BOX where ``boxes`` is 1."""
    bins = np.zeros((2, 4, BINS, rows, columns), np.float32)
    scores = np.full((2, len(CLASSES), rows, columns), -9, np.float32)
    if boxes:
        left, top, right, bottom = BOX
        for side, pixels in enumerate((20 - left, 12 - top, right - 20, bottom - 12)):
            low, share = int(pixels / STRIDE), pixels / STRIDE % 1
            bins[1, side, :, 1, 2] = -30
            bins[1, side, low, 1, 2] = np.log(max(1 - share, 1e-9))
            bins[1, side, low + 1, 1, 2] = np.log(max(share, 1e-9))
        scores[1, KIND, 1, 2] = 2
    return bins.reshape(2, -1, rows, columns), scores


def levels() -> list[NDArray[np.float32]]:
    return [*heads(1, 4, 6), *heads(0, 2, 3)]


def decoded() -> NDArray[np.float32]:
    """(2, 4 + classes, anchors): x, y, width, height and probabilities."""
    found = np.zeros((2, 7, 30), np.float32)
    left, top, right, bottom = BOX
    found[1, :4, 8] = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    found[1, 4 + KIND, 8] = 1 / (1 + np.exp(-2.0))
    return found


FORMS = {
    "apart": levels(),
    "scores first, coarse first": [levels()[i] for i in (3, 2, 1, 0)],
    "joined": [np.concatenate(levels()[:2], 1), np.concatenate(levels()[2:], 1)],
    "channels last": [one.transpose(0, 2, 3, 1) for one in levels()],
    "decoded": [decoded()],
    "decoded, anchors first": [decoded().transpose(0, 2, 1)],
    "decoded, as shares of the sides": [
        decoded() / np.array([48, 32, 48, 32, 1, 1, 1], np.float32)[:, np.newaxis]
    ],
}


@pytest.mark.parametrize("form", FORMS)
def test_a_known_box_comes_back(form: str) -> None:
    outputs = FORMS[form]
    shapes = {str(number): one.shape[1:] for number, one in enumerate(outputs)}
    assert recognised(shapes, SETTINGS) == "yolov8"
    empty, found = decoder.decode(outputs, SETTINGS)
    assert len(empty.scores) == 0
    np.testing.assert_allclose(found.corners, [BOX], atol=1e-4)
    np.testing.assert_allclose(found.scores, [1 / (1 + np.exp(-2.0))], rtol=1e-6)
    assert found.classes.tolist() == [KIND]


def test_of_boxes_on_one_object_the_surest_is_left() -> None:
    outputs = levels()
    outputs[0][1, :, 1, 3], outputs[1][1, :, 1, 3] = outputs[0][1, :, 1, 2], (-9, 1, 1)
    # its anchor is 8 pixels to the right, so the box is too: IoU 12 / 28
    assert len(decoder.decode(outputs, SETTINGS)[1].scores) == 3
    strict = Settings(SETTINGS.data, score=0.5, iou=0.4)
    found = decoder.decode(outputs, strict)[1]
    assert found.classes.tolist() == [1, 2], "only boxes of one class clash"


@pytest.mark.parametrize(
    "shapes", [[(10,)], [(5, 4, 6), (3, 4, 6)], [(32, 4, 6)], [(32, 5, 6), (3, 5, 6)]]
)
def test_what_are_no_such_heads_is_not_taken_for_them(shapes: list[tuple[int, ...]]) -> None:
    assert not decoder.fits(shapes, SETTINGS)
    with pytest.raises(UsageError, match="no heads of YOLOv8"):
        decoder.decode([np.zeros((1, *shape), np.float32) for shape in shapes], SETTINGS)
