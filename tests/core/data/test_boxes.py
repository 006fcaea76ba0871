"""Labels of detection: what belongs to a box is as many as there are boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeq.data import Boxes
from edgeq.errors import ArtefactError

CORNERS = np.array([[0, 0, 4, 2], [1, 1, 3, 9]], np.float32)
CLASSES = np.array([3, 1])


def test_the_area_is_the_boxs_unless_a_mask_says_less() -> None:
    assert Boxes(CORNERS, CLASSES).area.tolist() == [8, 16]
    assert Boxes(CORNERS, CLASSES, areas=np.array([5, 6], np.float32)).area.tolist() == [5, 6]
    assert len(Boxes(CORNERS, CLASSES)) == 2
    assert Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int64)).area.tolist() == []


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"corners": CORNERS[:1]}, "corners"),
        ({"crowd": np.zeros(3, bool)}, "crowd"),
        ({"areas": np.zeros((2, 1), np.float32)}, "areas"),
        ({"keypoints": np.zeros((2, 17, 2), np.float32)}, "keypoints"),
    ],
)
def test_what_does_not_belong_to_the_boxes_is_refused(wrong: dict[str, Any], name: str) -> None:
    with pytest.raises(ArtefactError, match=name):
        Boxes(**{"corners": CORNERS, "classes": CLASSES, **wrong})
