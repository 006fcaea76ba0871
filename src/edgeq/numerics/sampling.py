"""Where ONNX's Resize samples its input.

In float32, as runtimes compute it, which decides what is half-way.

And where integer kernels do, in positions of 10 bits, so that it can be told which of them sample
at the same points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

FRACTION_BITS = 10
BEARABLE = 0.45 / 255
"""How far beside the point sampling may be, in pixels.

Rounding then adds no more than one step of 8 bits.
"""


@dataclass(frozen=True, slots=True)
class Convention:
    """One of the ways of integer kernels to place the samples."""

    align_corners: bool
    half_pixel: bool


CONVENTIONS = (Convention(False, False), Convention(False, True), Convention(True, False))


def is_plain(attributes: Mapping[str, object]) -> bool:
    """Whether a Resize neither crops nor filters, and does not name its axes."""
    return (
        not attributes.get("antialias", 0)
        and mode_of(attributes) != "tf_crop_and_resize"
        and attributes.get("axes") is None
    )


def mode_of(attributes: Mapping[str, object]) -> str:
    """How its coordinates are transformed."""
    return str(attributes.get("coordinate_transformation_mode", "half_pixel"))


def points_of(
    attributes: Mapping[str, object], axis: int, before: int, after: int
) -> NDArray[np.float32] | None:
    """Where the input is sampled for each output along an axis, (after,), not clipped.

    None for a mode that is not known.

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


def nearest(attributes: Mapping[str, object], points: NDArray[np.float32]) -> NDArray[np.int64]:
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


def convention_of(
    axes: Sequence[tuple[NDArray[np.float32], int, int]], most: float = BEARABLE
) -> Convention | None:
    """The convention by which integer kernels interpolate at ONNX's points; None for none.

    Args:
        axes: for each axis the points, the input's size and the output's.
        most: how far beside the points samples may be, in pixels, both axes together.
    """
    for convention in CONVENTIONS:
        errors = [
            np.abs(np.clip(points, 0, before - 1) - _fixed_points(convention, before, after)).max()
            * (before > 1)
            for points, before, after in axes
        ]
        if sum(errors) <= most:
            return convention
    return None


def _fixed_points(convention: Convention, before: int, after: int) -> NDArray[np.float64]:
    """The points at which the integer kernels of interpolation sample, in pixels."""
    one = 1 << FRACTION_BITS
    if convention.align_corners and after > 1:
        step = (one * (before - 1) + (after - 1) // 2) // (after - 1)
    else:
        step = (one * before + after // 2) // after
    points = np.arange(after) * step + ((step // 2 - one // 2) if convention.half_pixel else 0)
    clipped: NDArray[np.float64] = np.clip(points / one, 0, before - 1)
    return clipped
