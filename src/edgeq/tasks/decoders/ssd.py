"""SSD: offsets from prior boxes, and scores of classes with or without a background in front.

Offsets (boxes, 4) and scores (boxes, classes), as published (Liu et al., *SSD: Single shot multibox
detector*, 2016). The prior boxes are an output of the file, (boxes, 4), or are given by
``anchors``, as many numbers as boxes times four: x, y, width and height in shares of the image's
sides. Without prior boxes the first output is taken for boxes: left, top, right and bottom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import UsageError
from edgeq.tasks.decoders.boxes import (
    from_middle,
    in_pixels,
    no_heads,
    sigmoid,
    softmax,
    suppressed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeq.tasks.decoders import Detections, Settings


class Ssd:
    """The decoder."""

    summary = "SSD: (boxes, 4) and (boxes, classes), the latter with or without a background"

    def fits(self, shapes: Sequence[tuple[int, ...]], settings: Settings) -> bool:
        """Whether outputs of these shapes look like this family's."""
        return _roles(shapes, settings) is not None

    def decode(
        self, outputs: Sequence[NDArray[np.float32]], settings: Settings
    ) -> list[Detections]:
        """What was found in each sample."""
        shapes = [values.shape[1:] for values in outputs]
        roles = _roles(shapes, settings)
        if roles is None:
            raise no_heads(shapes, "SSD", settings)
        offsets, scores = outputs[roles[0][0]], _scores(outputs[roles[1]], settings)
        corners = offsets
        if len(roles[0]) == 2:
            corners = _placed(offsets, outputs[roles[0][1]], settings)
        elif settings.anchors:
            corners = _placed(offsets, _given(settings, offsets.shape[1]), settings)
        corners = in_pixels(corners, settings)
        return [
            suppressed(box, score, settings) for box, score in zip(corners, scores, strict=True)
        ]


def _roles(shapes: Sequence[tuple[int, ...]], settings: Settings) -> tuple[list[int], int] | None:
    """The places of the boxes, with those of the prior boxes behind them, and of the scores."""
    classes = len(settings.data.classes)
    if len(shapes) not in (2, 3) or any(len(shape) != 2 for shape in shapes):
        return None
    if len({shape[0] for shape in shapes}) != 1:
        return None
    scores = [i for i, shape in enumerate(shapes) if shape[1] in (classes + 1, classes)]
    # where there are as many classes as sides, in the usual order: boxes, scores, prior boxes
    place = scores[len(scores) // 2] if scores else None
    boxes = [i for i, shape in enumerate(shapes) if shape[1] == 4 and i != place]
    return None if place is None or len(boxes) != len(shapes) - 1 else (boxes, place)


def _scores(values: NDArray[np.float32], settings: Settings) -> NDArray[np.float32]:
    """(n, boxes, classes), in [0, 1], the background left out."""
    background = values.shape[2] == len(settings.data.classes) + 1
    if values.size and (values.min() < 0 or values.max() > 1):
        values = softmax(values) if background else sigmoid(values)
    return values[..., 1:] if background else values


def _given(settings: Settings, boxes: int) -> NDArray[np.float32]:
    if len(settings.anchors) != 4 * boxes:
        raise UsageError(
            f"{boxes} boxes need {4 * boxes} numbers of anchors, and {len(settings.anchors)} are "
            "given",
            hint="give x, y, width and height of each prior box, in shares of the image's sides",
        )
    return np.array(settings.anchors, np.float32).reshape(1, boxes, 4)


def _placed(
    offsets: NDArray[np.float32], priors: NDArray[np.float32], settings: Settings
) -> NDArray[np.float32]:
    """Corners of the boxes, in shares of the image's sides."""
    near, far = settings.variances
    middle = priors[..., :2] + offsets[..., :2] * near * priors[..., 2:]
    extent = priors[..., 2:] * np.exp(offsets[..., 2:] * far)
    return from_middle(np.concatenate((middle, extent), -1).astype(np.float32))


decoder = Ssd()
