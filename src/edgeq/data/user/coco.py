"""Images with boxes and keypoints as COCO's JSON describes them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np

from edgeq.brief import brief
from edgeq.data.boxes import Boxes
from edgeq.data.source import Split
from edgeq.data.user.assemble import PARTS, assemble
from edgeq.data.user.images import ImageFiles
from edgeq.errors import ArtefactError
from edgeq.files import read_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.data.source import DataSource

MAX_BYTES = 1 << 31
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)
_KEYS = ("images", "annotations", "categories")
_LAYOUT = """lay it out so, or name the JSON file itself:
    data/annotations/instances_train.json
    data/annotations/instances_val.json
    data/train/1.jpg
    data/val/2.jpg"""


@dataclass(frozen=True, slots=True, eq=False)
class CocoBoxes(Sequence[Boxes]):
    """The boxes of each image, in pixels of the image; made when they are asked for.

    Attributes:
        starts: int64, (n + 1,): where the boxes of each image begin in the other arrays.
        corners: float32, (boxes, 4).
        classes: int64, (boxes,).
        crowd: bool, (boxes,).
        areas: float32, (boxes,), of the objects.
        keypoints: float32, (boxes, points, 3), or None.
    """

    starts: NDArray[np.int64]
    corners: NDArray[np.float32]
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    areas: NDArray[np.float32]
    keypoints: NDArray[np.float32] | None

    __repr__ = brief

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, where: int) -> Boxes: ...

    @overload
    def __getitem__(self, where: slice) -> list[Boxes]: ...

    def __getitem__(self, where: int | slice) -> Boxes | list[Boxes]:
        if isinstance(where, slice):
            return [self._of(position) for position in range(len(self))[where]]
        return self._of(range(len(self))[where])

    def _of(self, image: int) -> Boxes:
        part = slice(self.starts[image], self.starts[image + 1])
        points = None if self.keypoints is None else self.keypoints[part]
        return Boxes(
            self.corners[part], self.classes[part], self.crowd[part], points, self.areas[part]
        )


def is_coco(path: Path) -> bool:
    """Whether a JSON file begins as COCO's do, with one of its keys in an object."""
    with path.open("rb") as file:
        head = file.read(1 << 16).lstrip()
    return head.startswith(b"{") and any(f'"{key}"'.encode() in head for key in (*_KEYS, "info"))


def annotations_in(folder: Path) -> dict[str, Path]:
    """The COCO files of a folder by the part of the data that they are about; empty for none.

    They stand in the folder, in ``annotations``, or in a folder for each part.
    """
    parts = [each for each in sorted(folder.iterdir()) if each.name.lower() in PARTS]
    places = [folder, folder / "annotations", *(each for each in parts if each.is_dir())]
    found: dict[str, Path] = {}
    for place in places:
        for path in sorted(place.glob("*.json")):
            if is_coco(path):
                found.setdefault(_part_of(path, place), path)
    return found


def load_coco(paths: dict[str, Path], name: str) -> DataSource:
    """Data of detection: a part of the data for each file.

    Raises:
        ArtefactError: a file is no COCO annotation, the files differ in their classes, or an image
            is missing.
    """
    parts, classes = {}, None
    for part, path in paths.items():
        parts[part], named = _read(path)
        if classes is not None and named != classes:
            raise _wrong(path, "names other classes than the other files")
        classes = named
    return assemble(name, parts, classes or (), task="mAP")


def _part_of(path: Path, place: Path) -> str:
    words = path.stem.lower().replace("-", "_").split("_")
    by_name = (PARTS.get(word.rstrip("0123456789")) for word in words)
    return next(filter(None, by_name), PARTS.get(place.name.lower(), "test"))


def _read(path: Path) -> tuple[Split, tuple[str, ...]]:
    try:
        told = json.loads(read_bytes(path, "COCO annotation", limit=MAX_BYTES))
        categories = sorted(told["categories"], key=lambda each: each["id"])
        number = {each["id"]: index for index, each in enumerate(categories)}
        unknown = next(
            (row for row in told["annotations"] if row["category_id"] not in number), None
        )
        if unknown is not None:
            raise _wrong(
                path,
                f"has an annotation of category {unknown['category_id']}, and no such category",
            )
        images = sorted(told["images"], key=lambda each: each["id"])
        place = {each["id"]: index for index, each in enumerate(images)}
        # a stable order: those of an image as they stand in the file
        rows = sorted(told["annotations"], key=lambda each: place[each["image_id"]])
        counts = np.bincount([place[row["image_id"]] for row in rows], minlength=len(images))
        boxes = np.array([row["bbox"] for row in rows], np.float32).reshape(-1, 4)
        odd = next((row for row, box in zip(rows, boxes, strict=True) if not _is_box(box)), None)
        if odd is not None:
            raise _wrong(path, f"has the box {odd['bbox']} in image {odd['image_id']}")
        boxes[:, 2:] += boxes[:, :2]
        points = [row["keypoints"] for row in rows if "keypoints" in row]
        labels = CocoBoxes(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            boxes,
            np.array([number[row["category_id"]] for row in rows], np.int64),
            np.array([bool(row.get("iscrowd", 0)) for row in rows]),
            np.array([row.get("area", math.prod(row["bbox"][2:])) for row in rows], np.float32),
            np.array(points, np.float32).reshape(len(rows), -1, 3)
            if points and len(points) == len(rows)
            else None,
        )
        files = [str(each["file_name"]) for each in images]
        ids = np.array([int(each["id"]) for each in images], np.int64)
        names = tuple(str(each["name"]) for each in categories)
    except _MALFORMED as error:
        raise _wrong(path, f"is no COCO annotation: {error!r}") from error
    if not files or len(set(ids.tolist())) != len(ids):
        raise _wrong(path, "names no images" if not files else "has two images of one id")
    folder = _images_of(path, files[0])
    absent = next((file for file in files if not (folder / file).is_file()), None)
    if absent is not None:
        raise _wrong(path, f"names {absent}, and there is no such file in {folder}")
    return Split({"": ImageFiles.of(folder, files)}, labels, ids, files), names


def _is_box(box: NDArray[np.float32]) -> bool:
    return bool(np.isfinite(box).all() and (box[2:] >= 0).all())


def _images_of(path: Path, first: str) -> Path:
    """The folder that holds the images of an annotation file."""
    roots = (path.parent, path.parent.parent)
    words = path.stem.replace("instances_", "").replace("person_keypoints_", "")
    below = ("", "images", words, f"images/{words}", *PARTS, *(f"images/{part}" for part in PARTS))
    for root in roots:
        for folder in below:
            if (root / folder / first).is_file():
                return root / folder
    raise _wrong(path, f"names {first}, which is in no folder beside it")


def _wrong(path: Path, what: str) -> ArtefactError:
    return ArtefactError(f"{path} {what}", hint=_LAYOUT)
