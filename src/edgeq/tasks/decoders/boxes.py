"""What decoders share: layouts, grids of anchors, and non-maximum suppression."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import UsageError
from edgeq.tasks.decoders import Detections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeq.tasks.decoders import Settings

MOST_CANDIDATES = 1000
"""Boxes of a sample that are held against each other."""


def no_heads(shapes: Sequence[tuple[int, ...]], family: str, settings: Settings) -> UsageError:
    """The error for outputs that are not those of a family."""
    return UsageError(
        f"outputs of {', '.join(map(str, shapes))} are no heads of {family} for "
        f"{len(settings.data.classes)} classes",
        hint="choose another decoder, or cut the file at its heads",
    )


def sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """``1 / (1 + exp(-x))``, without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * values)), np.float32)


def softmax(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Over the last axis."""
    powers = np.exp(values - values.max(-1, keepdims=True))
    found: NDArray[np.float32] = powers / powers.sum(-1, keepdims=True)
    return found


def probabilities(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores as they are where all lie in [0, 1], else as the logits they then are."""
    if values.size and (values.min() < 0 or values.max() > 1):
        return sigmoid(values)
    return values


def centres(height: int, width: int) -> NDArray[np.float32]:
    """x and y of each place of a grid, row by row, in units of the grid: (height * width, 2)."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.stack((x, y), -1).reshape(-1, 2).astype(np.float32)


def from_middle(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Corners from (x, y, width, height), (..., 4)."""
    middle, half = boxes[..., :2], boxes[..., 2:] / 2
    return np.concatenate((middle - half, middle + half), -1).astype(np.float32)


def in_pixels(corners: NDArray[np.float32], settings: Settings) -> NDArray[np.float32]:
    """Corners as pixels, where a network gives them as shares of the image's sides."""
    if corners.size and np.abs(corners).max() <= 2:
        height, width = settings.data.size
        return np.asarray(corners * np.array((width, height, width, height)), np.float32)
    return corners


def suppressed(
    corners: NDArray[np.float32],
    scores: NDArray[np.float32],
    settings: Settings,
    points: NDArray[np.float32] | None = None,
) -> Detections:
    """One sample's detections: each box may be of several classes, each class on its own.

    Args:
        corners: (a, 4).
        scores: (a, classes).
        settings: thresholds.
        points: (a, points, 3), of each box.
    """
    box, kind = np.nonzero(scores >= settings.score)
    sure = scores[box, kind]
    order = np.argsort(-sure, kind="stable")[:MOST_CANDIDATES]
    box, kind, sure = box[order], kind[order], sure[order]
    kept = _apart(corners[box], kind, settings.iou, settings.most)
    return Detections(
        corners[box[kept]].astype(np.float32),
        sure[kept].astype(np.float32),
        kind[kept].astype(np.int64),
        None if points is None else points[box[kept]].astype(np.float32),
    )


def _apart(
    corners: NDArray[np.float32], kinds: NDArray[np.int64], most_iou: float, most: int
) -> NDArray[np.int64]:
    """The places of boxes, surest first, that overlap no surer one of their class too far."""
    areas = (corners[:, 2:] - corners[:, :2]).clip(0).prod(1)
    left, kept = np.arange(len(corners)), list[int]()
    while len(left) and len(kept) < most:
        first, rest = int(left[0]), left[1:]
        kept.append(first)
        low = np.maximum(corners[first, :2], corners[rest, :2])
        high = np.minimum(corners[first, 2:], corners[rest, 2:])
        both = (high - low).clip(0).prod(1)
        union = areas[first] + areas[rest] - both
        clash = (kinds[rest] == kinds[first]) & (both > most_iou * union)
        left = rest[~clash]
    return np.array(kept, np.int64)
