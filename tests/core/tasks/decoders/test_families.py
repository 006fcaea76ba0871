"""The other families of detectors: a known box comes back, and outputs are recognised."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeq.errors import UsageError
from edgeq.tasks import TaskData
from edgeq.tasks.decoders import DECODERS, Settings, recognised

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES = ("a", "b", "c")
SETTINGS = Settings(TaskData("made-up", CLASSES, (1, 32, 48)), score=0.3)
BOX, KIND, SURE = (10.0, 4.0, 26.0, 20.0), 1, 0.8
"""Its middle is (18, 12), 16 pixels a side."""
SIDES = np.array((48, 32, 48, 32), np.float32)


def logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def yolov5_decoded() -> NDArray[np.float32]:
    found = np.zeros((2, 30, 8), np.float32)
    found[1, 7] = (18, 12, 16, 16, 1, 0, SURE, 0)
    return found


def yolov5_raw() -> list[NDArray[np.float32]]:
    """Two levels of two anchor boxes: strides 8 and 16, the box at row 1, column 2 of the first."""
    fine, coarse = (np.full((2, 2, 8, *size), -9, np.float32) for size in ((4, 6), (2, 3)))
    # middle: (2 s - 0.5 + 2) * 8 = 18, so s = 0.375; (2 s - 0.5 + 1) * 8 = 12, so s = 0.5
    # size: (2 s)^2 * (16, 4) = (16, 16), so s = 0.5 and s = 1
    fine[1, 1, :, 1, 2] = logit(0.375), 0, 0, 40, 40, -9, logit(SURE), -9
    return [one.reshape(2, 16, *one.shape[3:]) for one in (fine, coarse)]


ANCHORS = (3.0, 3.0, 16.0, 4.0, 20.0, 20.0, 30.0, 30.0)


def yolo26() -> NDArray[np.float32]:
    found = np.zeros((2, 20, 6), np.float32)
    found[1, 3] = (*BOX, SURE, KIND)
    return found


def lists() -> list[NDArray[np.float32]]:
    found = yolo26()
    return [found[..., :4], found[..., 5], found[..., 4]]


PRIOR = np.array((0.5, 0.5, 0.25, 0.25), np.float32)


def ssd(*, background: bool) -> list[NDArray[np.float32]]:
    offsets = np.zeros((2, 9, 4), np.float32)
    middle, size = np.array((18 / 48, 12 / 32)), np.array((16 / 48, 16 / 32))
    offsets[1, 5, :2] = (middle - PRIOR[:2]) / PRIOR[2:] / 0.1
    offsets[1, 5, 2:] = np.log(size / PRIOR[2:]) / 0.2
    scores = np.zeros((2, 9, 3 + background), np.float32)
    scores[..., 0] = background
    scores[1, 5] = 0
    scores[1, 5, KIND + background] = SURE
    return [offsets, scores]


def priors() -> NDArray[np.float32]:
    return np.broadcast_to(PRIOR, (2, 9, 4)).copy()


def centernet(*, offsets: bool) -> list[NDArray[np.float32]]:
    heat, size, within = (np.zeros((2, count, 8, 12), np.float32) for count in (3, 2, 2))
    heat[1, KIND, 3, 4] = SURE
    heat[1, KIND, 3, 5] = 0.7  # beside the peak
    size[1, :, 3, 4] = 4, 4
    within[1, :, 3, 4] = (0.5, 0) if offsets else (0.5, 0.5)
    return [heat, size, within][: 3 if offsets else 2]


FORMS: dict[str, tuple[str, list[NDArray[np.float32]], dict[str, Any]]] = {
    "yolov5, decoded": ("yolov5", [yolov5_decoded()], {}),
    "yolov5, heads": ("yolov5", yolov5_raw(), {"anchors": ANCHORS}),
    "yolov5, heads, coarse first": ("yolov5", yolov5_raw()[::-1], {"anchors": ANCHORS}),
    "yolov5, heads, channels last": (
        "yolov5",
        [one.transpose(0, 2, 3, 1) for one in yolov5_raw()],
        {"anchors": ANCHORS},
    ),
    "yolov5, heads of five axes": (
        "yolov5",
        [one.reshape(2, 2, 8, *one.shape[2:]).transpose(0, 1, 3, 4, 2) for one in yolov5_raw()],
        {"anchors": ANCHORS},
    ),
    "a list": ("yolo26", [yolo26()], {}),
    "a list, as shares of the sides": (
        "yolo26",
        [(yolo26() / np.append(SIDES, (1, 1))).astype(np.float32)],
        {},
    ),
    "lists, classes first": ("yolo26", lists(), {}),
    "ssd": ("ssd", [*ssd(background=True), priors()], {}),
    "ssd, priors given": ("ssd", ssd(background=False), {"anchors": tuple(PRIOR) * 9}),
    "centernet": ("centernet", centernet(offsets=True), {}),
    "centernet, channels last": (
        "centernet",
        [one.transpose(0, 2, 3, 1) for one in centernet(offsets=True)],
        {},
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_known_box_comes_back(form: str) -> None:
    name, outputs, settings = FORMS[form]
    given = replace(SETTINGS, **settings)
    shapes = {str(number): one.shape[1:] for number, one in enumerate(outputs)}
    assert recognised(shapes, given) == name
    empty, found = DECODERS.load(name).decode(outputs, given)
    assert len(empty.scores) == 0
    np.testing.assert_allclose(found.corners, [BOX], atol=1e-2)
    np.testing.assert_allclose(found.scores, [SURE], rtol=1e-3)
    assert found.classes.tolist() == [KIND]


def test_without_offsets_a_middle_is_that_of_its_cell() -> None:
    (found,) = DECODERS.load("centernet").decode(
        [one[1:] for one in centernet(offsets=False)], SETTINGS
    )
    np.testing.assert_allclose(found.corners, [(10, 6, 26, 22)])


@pytest.mark.parametrize("name", DECODERS.names())
def test_outputs_of_another_kind_are_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match=r"outputs of \(7, 5, 5\)"):
        DECODERS.load(name).decode([np.zeros((1, 7, 5, 5), np.float32)], SETTINGS)


def test_anchor_boxes_have_to_be_as_many_as_the_heads_ask_for() -> None:
    with pytest.raises(UsageError, match="need 8 numbers, and 0 are given"):
        DECODERS.load("yolov5").decode(yolov5_raw(), SETTINGS)
    with pytest.raises(UsageError, match="9 boxes need 36 numbers of anchors"):
        DECODERS.load("ssd").decode(ssd(background=True), replace(SETTINGS, anchors=(1.0,)))
