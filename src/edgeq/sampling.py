"""Where ONNX's Resize samples its input: in float32, as runtimes compute it, which decides what is half-way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeq.qdq import AttributeValue


def is_plain(attributes: Mapping[str, AttributeValue]) -> bool:
    """Whether a Resize neither crops nor filters, and does not name its axes."""
    return not attributes.get("antialias", 0) and mode_of(attributes) != "tf_crop_and_resize" and attributes.get("axes") is None


def mode_of(attributes: Mapping[str, AttributeValue]) -> str:
    """How its coordinates are transformed."""
    return str(attributes.get("coordinate_transformation_mode", "half_pixel"))


def points_of(attributes: Mapping[str, AttributeValue], axis: int, before: int, after: int) -> NDArray[np.float32] | None:
    """Where the input is sampled for each output along an axis, (after,), not clipped; None for a mode that is not known.

    Args:
        attributes: of a plain Resize.
        axis: of the tensor, for a scale that is given.
        before: the input's size along it.
        after: the output's.
    """
    given = attributes.get("scales", ())
    scale = np.float32(given[axis] if isinstance(given, tuple) and given else after / before)
    outputs = np.arange(after, dtype=np.float32)
    match mode_of(attributes):
        case "asymmetric":
            return outputs / scale
        case "align_corners":
            return outputs * np.float32(before - 1) / np.float32(max(after - 1, 1))
        case "pytorch_half_pixel" if after == 1:
            return np.zeros(1, np.float32)
        case "half_pixel" | "pytorch_half_pixel":
            return (outputs + np.float32(0.5)) / scale - np.float32(0.5)
        case "half_pixel_symmetric":
            centre = np.float32(before) / 2 * (1 - np.float32(after) / (scale * before))
            return centre + (outputs + np.float32(0.5)) / scale - np.float32(0.5)
    return None


def nearest(attributes: Mapping[str, AttributeValue], points: NDArray[np.float32]) -> NDArray[np.int64]:
    """The pixel that mode nearest picks for each point, not clipped."""
    match attributes.get("nearest_mode", "round_prefer_floor"):
        case "floor":
            picked = np.floor(points)
        case "ceil":
            picked = np.ceil(points)
        case "round_prefer_ceil":
            picked = np.floor(points + 0.5)
        case _:
            picked = np.ceil(points - 0.5)
    return picked.astype(np.int64)
