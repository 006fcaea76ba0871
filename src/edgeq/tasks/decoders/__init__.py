"""Decoders: from a detector's raw outputs to boxes, one family a file, by entry point.

A decoder says whether it recognises the outputs by their shapes, so that a user need not name it.
All compute in NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edgeq.brief import brief
from edgeq.errors import UsageError
from edgeq.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from edgeq.tasks import TaskData


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What a detector found in one sample, the surest first.

    Attributes:
        corners: float32, (k, 4): left, top, right and bottom in pixels of the network's input.
        scores: float32, (k,), in [0, 1].
        classes: int64, (k,).
        keypoints: float32, (k, points, 3): x and y in pixels, and how sure each is; None where the
            network gives none.
    """

    corners: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    keypoints: NDArray[np.float32] | None = None

    __repr__ = brief


@dataclass(frozen=True, slots=True)
class Settings:
    """What a decoder may need beside the outputs.

    Attributes:
        data: classes and image size.
        score: detections below it are left out.
        iou: of two boxes of a class that overlap more, the less sure one is left out.
        most: detections of a sample.
        anchors: widths and heights in pixels, level by level, of decoders with anchor boxes.
        variances: of SSD's coordinates.
        points: keypoints of an object; 0 for none.
    """

    data: TaskData
    score: float = 0.01
    iou: float = 0.7
    most: int = 100
    anchors: tuple[float, ...] = ()
    variances: tuple[float, float] = (0.1, 0.2)
    points: int = 0


class Decoder(Protocol):
    """One family of detectors.

    Attributes:
        summary: one line for people.
    """

    summary: str

    def fits(self, shapes: Sequence[tuple[int, ...]], settings: Settings) -> bool:
        """Whether outputs of these shapes, without the batch, look like this family's."""
        ...

    def decode(
        self, outputs: Sequence[NDArray[np.float32]], settings: Settings
    ) -> list[Detections]:
        """What was found in each sample of a batch.

        Args:
            outputs: in the order of the network, (samples, ...), in either layout.
            settings: thresholds and sizes.
        """
        ...


DECODERS: Registry[Decoder] = Registry("decoder")
"""The decoders by name."""

GUESSED = ("yolo26", "yolov8", "yolov5", "ssd", "centernet")
"""The order in which outputs are held against our own decoders, the strictest first."""


def recognised(shapes: Mapping[str, tuple[int, ...]], settings: Settings) -> str:
    """The name of the first decoder that outputs look made for.

    Raises:
        UsageError: there is none.
    """
    names = DECODERS.names()
    for name in (*GUESSED, *(name for name in names if name not in GUESSED)):
        if name in names and DECODERS.load(name).fits(list(shapes.values()), settings):
            return name
    told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    raise UsageError(
        f"no decoder recognises the outputs {told} for {len(settings.data.classes)} classes and "
        f"images of {settings.data.size[0]} x {settings.data.size[1]}",
        hint=f"name one with --task-option decoder=NAME ({', '.join(names)}), or give a function "
        "of your own with --task module:function",
    )
