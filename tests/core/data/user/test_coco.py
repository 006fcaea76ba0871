"""Boxes and keypoints as COCO describes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from edgeq.data import Preprocessing, batches, load
from edgeq.data.batching import labels_as_fed
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from pathlib import Path

TOLD: dict[str, Any] = {
    "images": [
        {"id": 30, "file_name": "b.png", "width": 8, "height": 4},
        {"id": 7, "file_name": "a.png", "width": 8, "height": 8},
    ],
    "categories": [{"id": 5, "name": "dog"}, {"id": 2, "name": "cat"}],
    "annotations": [
        {"id": 1, "image_id": 30, "category_id": 5, "bbox": [1, 0, 4, 2], "area": 6},
        {"id": 2, "image_id": 30, "category_id": 2, "bbox": [0, 0, 8, 4], "iscrowd": 1},
    ],
}


def laid_out(folder: Path, told: Any = TOLD, at: str = "annotations/instances_val.json") -> Path:
    (folder / "val").mkdir(exist_ok=True)
    Image.new("RGB", (8, 8)).save(folder / "val" / "a.png")
    Image.new("RGB", (8, 4)).save(folder / "val" / "b.png")
    path = folder / at
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(told))
    return path


@pytest.mark.parametrize(
    "at", ["annotations/instances_val2017.json", "val/_annotations.coco.json", "boxes_test.json"]
)
def test_a_folder_or_its_file(tmp_path: Path, at: str) -> None:
    path = laid_out(tmp_path, at=at)
    for named in (tmp_path, path):
        source = load(str(named))
        assert (source.task, source.classes) == ("mAP", ("cat", "dog"))
        assert source.test.ids.tolist() == [7, 30]
        labels: Any = source.test.labels
        none, two = labels[:]
        assert len(none) == 0
        assert two.corners.tolist() == [[1, 0, 5, 2], [0, 0, 8, 4]]
        assert (two.classes.tolist(), two.crowd.tolist()) == ([1, 0], [False, True])
        assert two.area.tolist() == [6, 32]
        assert two.keypoints is None


def test_boxes_are_where_the_network_sees_them(tmp_path: Path) -> None:
    source = load(str(laid_out(tmp_path))).with_preprocessing(Preprocessing(letterbox=(16, 16)))
    ((images, labels),) = batches(source.test, source, 4)
    assert images.shape == (2, 3, 16, 16)
    assert labels[1].corners.tolist() == [[2, 4, 10, 8], [0, 4, 16, 12]]
    (judged,) = labels_as_fed(source.test, source, slice(1, 2))
    assert judged.corners.tolist() == labels[1].corners.tolist()
    assert labels[1].area.tolist() == [6, 32], "sizes are told by the image's own pixels"


def test_keypoints_move_too(tmp_path: Path) -> None:
    rows = [{**row, "keypoints": [1, 1, 2, 0, 0, 0]} for row in TOLD["annotations"]]
    path = laid_out(tmp_path, {**TOLD, "annotations": rows})
    source = load(str(path)).with_preprocessing(Preprocessing(resize=(16, 16)))
    ((_, labels),) = batches(source.test, source, 4)
    assert labels[1].keypoints[0].tolist() == [[2, 4, 2], [0, 0, 0]]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"categories": [{"id": 2}]}, "an annotation of category 5, and no such category"),
        (
            {"annotations": [{"image_id": 7, "category_id": 2, "bbox": [0, 0, -1, 1]}]},
            r"has the box \[0, 0, -1, 1\] in image 7",
        ),
        ({"categories": [{"id": 2}, {"id": 5}]}, "is no COCO annotation"),
        ({"images": []}, "is no COCO annotation"),
        ({"images": [{"id": 30, "file_name": "c.png"}]}, "which is in no folder beside it"),
        ({"annotations": [{"image_id": 9, "category_id": 2, "bbox": [0, 0, 1, 1]}]}, "KeyError"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    path = laid_out(tmp_path, {**TOLD, **changed})
    with pytest.raises(ArtefactError, match=said):
        load(str(path))
