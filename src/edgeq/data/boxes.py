"""The labels of a sample for detection and keypoints: boxes, their classes, their points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """What is to be found in one sample.

    Attributes:
        corners: float32, (k, 4): left, top, right and bottom in pixels of the network's input,
            right and bottom exclusive.
        classes: int64, (k,), an index into the data set's classes.
        crowd: bool, (k,): a box around many objects, which is no miss and no false alarm; COCO's
            ``iscrowd``.
        keypoints: float32, (k, points, 3): x and y in pixels, and COCO's visibility (0 not
            labelled, 1 hidden, 2 visible); None where there are none.
        areas: float32, (k,), of each object in pixels, which a mask makes smaller than its box;
            that of the box where None.
    """

    corners: NDArray[np.float32]
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_] | None = None
    keypoints: NDArray[np.float32] | None = None
    areas: NDArray[np.float32] | None = None

    __repr__ = brief

    def __post_init__(self) -> None:
        count = len(self.classes)
        told = {
            "corners": (self.corners, (count, 4)),
            "crowd": (self.crowd, (count,)),
            "areas": (self.areas, (count,)),
        }
        for name, (values, shape) in told.items():
            if values is not None and values.shape != shape:
                raise ArtefactError(
                    f"{name} of {count} boxes have the shape {values.shape}, not {shape}",
                    hint="give each box four corners and one class",
                )
        points = self.keypoints
        if points is not None and (points.ndim != 3 or points.shape[::2] != (count, 3)):
            raise ArtefactError(
                f"keypoints of {count} boxes have the shape {points.shape}, not "
                f"({count}, points, 3)",
                hint="give x, y and visibility of each point",
            )

    def __len__(self) -> int:
        return len(self.classes)

    def take(self, where: NDArray[np.bool_] | NDArray[np.int64]) -> Boxes:
        """Some of the objects, by a mask or their places."""
        return Boxes(
            self.corners[where],
            self.classes[where],
            None if self.crowd is None else self.crowd[where],
            None if self.keypoints is None else self.keypoints[where],
            None if self.areas is None else self.areas[where],
        )

    @property
    def area(self) -> NDArray[np.float32]:
        """Of each object, in pixels."""
        if self.areas is not None:
            return self.areas
        sizes: NDArray[np.float32] = np.prod(self.corners[:, 2:] - self.corners[:, :2], axis=1)
        return sizes
