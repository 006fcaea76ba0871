"""YOLOv5 and YOLOv7: anchor boxes, an objectness, and scores of classes.

Raw: for each level (anchors * (5 + classes), h, w), or (anchors, h, w, 5 + classes), whose numbers
are logits; ``anchors`` gives widths and heights in pixels, finest level first, and those of the
published networks are used where there are three levels of three. Decoded, as exports give it:
(boxes, 5 + classes), with x, y, width and height in pixels or shares of the image's sides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import UsageError
from edgeq.tasks.decoders.boxes import (
    centres,
    from_middle,
    in_pixels,
    no_heads,
    probabilities,
    sigmoid,
    suppressed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeq.tasks.decoders import Detections, Settings

PUBLISHED = (10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326)
"""Widths and heights in pixels, of three levels of three anchor boxes, for images of 640 x 640."""


class YoloV5:
    """The decoder."""

    summary = "YOLOv5 and YOLOv7: raw heads with anchor boxes, or (boxes, 5 + classes)"

    def fits(self, shapes: Sequence[tuple[int, ...]], settings: Settings) -> bool:
        """Whether outputs of these shapes look like this family's."""
        if len(shapes) == 1 and len(shapes[0]) == 2:
            return shapes[0][1] == 5 + len(settings.data.classes)
        return bool(shapes) and all(_anchors_of(shape, settings) for shape in shapes)

    def decode(
        self, outputs: Sequence[NDArray[np.float32]], settings: Settings
    ) -> list[Detections]:
        """What was found in each sample."""
        shapes = [values.shape[1:] for values in outputs]
        if not self.fits(shapes, settings):
            raise no_heads(shapes, "YOLOv5", settings)
        if outputs[0].ndim == 3:
            rows = outputs[0]
            corners = in_pixels(from_middle(rows[..., :4]), settings)
            sure = probabilities(rows[..., 4:])
        else:
            corners, sure = _raw(outputs, settings)
        return [
            suppressed(box, score[:, :1] * score[:, 1:], settings)
            for box, score in zip(corners, sure, strict=True)
        ]


def _anchors_of(shape: tuple[int, ...], settings: Settings) -> int:
    """How many anchor boxes a head has at each place; 0 where it is none."""
    features, (height, width) = 5 + len(settings.data.classes), settings.data.size
    if len(shape) == 4:
        return shape[0] if shape[3] == features else 0
    if len(shape) != 3:
        return 0
    for rows, columns, channels in ((shape[1], shape[2], shape[0]), shape):
        if channels % features == 0 and rows * width == columns * height:
            return channels // features
    return 0


def _raw(
    outputs: Sequence[NDArray[np.float32]], settings: Settings
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Corners (n, boxes, 4), and objectness and classes (n, boxes, 1 + classes)."""
    heads = sorted((_upright(one, settings) for one in outputs), key=lambda head: -head.shape[2])
    count = heads[0].shape[1]
    given = settings.anchors or (PUBLISHED if (len(heads), count) == (3, 3) else ())
    if len(given) != 2 * len(heads) * count:
        raise UsageError(
            f"{len(heads)} heads with {count} anchor boxes each need {2 * len(heads) * count} "
            f"numbers, and {len(given)} are given",
            hint="give --task-option anchors=W,H,W,H,... in pixels, finest level first",
        )
    sizes = np.array(given, np.float32).reshape(len(heads), count, 1, 2)
    corners, sure = [], []
    for head, anchors in zip(heads, sizes, strict=True):
        n, _, rows, columns, features = head.shape
        values = sigmoid(head.reshape(n, count, rows * columns, features))
        stride = settings.data.size[0] / rows
        middle = (values[..., :2] * 2 - 1 + centres(rows, columns)) * stride
        extent = (values[..., 2:4] * 2) ** 2 * anchors
        corners.append(from_middle(np.concatenate((middle, extent), -1)).reshape(n, -1, 4))
        sure.append(values[..., 4:].reshape(n, -1, features - 4))
    return np.concatenate(corners, 1), np.concatenate(sure, 1)


def _upright(output: NDArray[np.float32], settings: Settings) -> NDArray[np.float32]:
    """(n, anchors, h, w, features), from any layout."""
    features, n = 5 + len(settings.data.classes), len(output)
    if output.ndim == 5:
        return output
    height, width = settings.data.size
    first = output.shape[1] % features == 0 and output.shape[2] * width == output.shape[3] * height
    planes = output if first else output.transpose(0, 3, 1, 2)
    split = planes.reshape(n, -1, features, *planes.shape[2:])
    return split.transpose(0, 1, 3, 4, 2)


decoder = YoloV5()
