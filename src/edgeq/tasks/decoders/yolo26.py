"""YOLO26, YOLOv10 and other heads without suppression: a list of boxes, each with score and class.

One output (boxes, 6): left, top, right, bottom, score and class; or three outputs, boxes (boxes,
4), scores (boxes) and classes (boxes), as post-processing inside a file gives them, where a fourth
output may count the boxes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import UsageError
from edgeq.tasks.decoders import Detections
from edgeq.tasks.decoders.boxes import in_pixels, probabilities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeq.tasks.decoders import Settings


class Yolo26:
    """The decoder."""

    summary = "YOLO26, YOLOv10 and the like, which need no suppression: (boxes, 6)"

    def fits(self, shapes: Sequence[tuple[int, ...]], settings: Settings) -> bool:
        """Whether outputs of these shapes look like this family's."""
        del settings
        if len(shapes) == 1:
            return len(shapes[0]) == 2 and shapes[0][1] == 6 and shapes[0][0] <= 1000
        boxes = [shape for shape in shapes if len(shape) == 2 and shape[1] == 4]
        flat = [shape for shape in shapes if len(shape) == 1 and shape[0] > 1]
        return len(boxes) == 1 and len(flat) == 2 and flat[0] == flat[1] == boxes[0][:1]

    def decode(
        self, outputs: Sequence[NDArray[np.float32]], settings: Settings
    ) -> list[Detections]:
        """What was found in each sample."""
        shapes = [values.shape[1:] for values in outputs]
        if not self.fits(shapes, settings):
            raise UsageError(
                f"outputs of {', '.join(map(str, shapes))} are no list of boxes",
                hint="choose another decoder",
            )
        if len(outputs) == 1:
            corners, scores, classes = outputs[0][..., :4], outputs[0][..., 4], outputs[0][..., 5]
        else:
            corners = next(one for one in outputs if one.ndim == 3)
            scores, classes = _in_order([one for one in outputs if one.ndim == 2][:2])
        corners, scores = in_pixels(corners, settings), probabilities(scores)
        return [_kept(*each, settings) for each in zip(corners, scores, classes, strict=True)]


def _in_order(
    flat: Sequence[NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scores and classes, told by what is in them: classes are whole numbers."""
    first, second = flat
    whole = [bool((one == np.rint(one)).all()) for one in flat]
    return (second, first) if whole[0] and not whole[1] else (first, second)


def _kept(
    corners: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[np.float32],
    settings: Settings,
) -> Detections:
    order = np.argsort(-scores, kind="stable")[: settings.most]
    order = order[scores[order] >= settings.score]
    return Detections(
        corners[order].astype(np.float32),
        scores[order].astype(np.float32),
        np.rint(classes[order]).astype(np.int64),
    )


decoder = Yolo26()
