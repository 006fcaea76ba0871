"""YOLOv8 and YOLO11: anchors without boxes, distributions of distances (DFL), no objectness.

Three forms of the same answer are known. Raw, as edgeq's own detector gives it: for each level
boxes (4 * bins, h, w) and scores (classes, h, w), apart or joined to (4 * bins + classes, h, w).
Decoded, as exports of the published family give it: (4 + classes, anchors) with x, y, width, height
and scores; of a pose network, three numbers for each keypoint behind them.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from edgeq.tasks.decoders.boxes import (
    centres,
    from_middle,
    in_pixels,
    no_heads,
    probabilities,
    sigmoid,
    softmax,
    suppressed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeq.tasks.decoders import Detections, Settings

    Level = tuple[NDArray[np.float32], NDArray[np.float32]]


class YoloV8:
    """The decoder."""

    summary = "YOLOv8 and YOLO11: raw heads with distributions (DFL), or (4 + classes, anchors)"

    def fits(self, shapes: Sequence[tuple[int, ...]], settings: Settings) -> bool:
        """Whether outputs of these shapes look like this family's."""
        if len(shapes) == 1 and len(shapes[0]) == 2:
            return _features(settings) in shapes[0]
        return _levels_of(shapes, settings) is not None

    def decode(
        self, outputs: Sequence[NDArray[np.float32]], settings: Settings
    ) -> list[Detections]:
        """What was found in each sample."""
        shapes = [values.shape[1:] for values in outputs]
        if len(outputs) == 1 and outputs[0].ndim == 3:
            return _decoded(outputs[0], settings)
        levels = _levels_of(shapes, settings)
        if levels is None:
            raise no_heads(shapes, "YOLOv8", settings)
        return _raw([_level(outputs, level, settings) for level in levels], settings)


def _features(settings: Settings) -> int:
    return 4 + len(settings.data.classes) + 3 * settings.points


def _decoded(output: NDArray[np.float32], settings: Settings) -> list[Detections]:
    features, classes = _features(settings), len(settings.data.classes)
    rows = output if output.shape[2] == features else output.transpose(0, 2, 1)
    corners = in_pixels(from_middle(rows[..., :4]), settings)
    scores = probabilities(rows[..., 4 : 4 + classes])
    points = rows[..., 4 + classes :].reshape(*rows.shape[:2], settings.points, 3)
    return [
        suppressed(box, score, settings, point if settings.points else None)
        for box, score, point in zip(corners, scores, points, strict=True)
    ]


def _levels_of(
    shapes: Sequence[tuple[int, ...]], settings: Settings
) -> list[tuple[int, int, tuple[int, int]]] | None:
    """The outputs of each level, boxes and scores, and its height and width; finest first.

    Both are the same output where they are joined. None where they are no such heads.
    """
    classes = len(settings.data.classes)
    grids: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for index, shape in enumerate(shapes):
        if len(shape) != 3:
            return None
        found = _grid(shape, settings)
        if found is None:
            return None
        grids.setdefault(found[0], []).append((index, found[1]))
    levels = []
    for size, members in grids.items():
        pair = next(
            (
                (boxes[0], scores[0])
                for boxes, scores in permutations(members, 2)
                if scores[1] == classes and boxes[1] % 4 == 0 and boxes[1] >= 8
            ),
            None,
        )
        if len(members) == 1 and (members[0][1] - classes) % 4 == 0 and members[0][1] > classes + 4:
            pair = members[0][0], members[0][0]
        if pair is None or len(members) > 2:
            return None
        levels.append((*pair, size))
    return sorted(levels, key=lambda level: -level[2][0]) or None


def _grid(shape: tuple[int, ...], settings: Settings) -> tuple[tuple[int, int], int] | None:
    """Height, width and channels of a head, whose stride is the same in both directions."""
    height, width = settings.data.size
    for rows, columns, channels in ((shape[1], shape[2], shape[0]), shape):
        if rows * width == columns * height and height % rows == 0 and height // rows >= 2:
            return (rows, columns), channels
    return None


def _level(
    outputs: Sequence[NDArray[np.float32]],
    level: tuple[int, int, tuple[int, int]],
    settings: Settings,
) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Boxes (n, a, 4, bins), scores (n, a, classes) and the stride, in pixels."""
    boxes, scores, size = level
    classes, stride = len(settings.data.classes), settings.data.size[0] / size[0]
    first, second = (_rows(outputs[index], size) for index in (boxes, scores))
    if boxes == scores:
        first, second = first[..., :-classes], first[..., -classes:]
    return first.reshape(*first.shape[:2], 4, -1), second, stride


def _rows(output: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """(n, anchors, channels), from either layout."""
    upright = output if output.shape[1:3] == size else output.transpose(0, 2, 3, 1)
    return upright.reshape(len(output), size[0] * size[1], -1)


def _raw(
    levels: Sequence[tuple[NDArray[np.float32], NDArray[np.float32], float]], settings: Settings
) -> list[Detections]:
    corners, scores = [], []
    for bins, logits, stride in levels:
        # the stride tells the grid, which is as wide as the image is
        columns = round(settings.data.size[1] / stride)
        at = centres(bins.shape[1] // columns, columns)
        distance = softmax(bins) @ np.arange(bins.shape[-1], dtype=np.float32)
        corners.append(
            np.concatenate((at - distance[..., :2], at + distance[..., 2:]), -1) * stride
        )
        scores.append(sigmoid(logits))
    return [
        suppressed(*each, settings)
        for each in zip(np.concatenate(corners, 1), np.concatenate(scores, 1), strict=True)
    ]


decoder = YoloV8()
