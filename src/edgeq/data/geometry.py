"""Images brought to the size that a network takes: resized, cropped, or fitted into a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Interpolation = Literal["nearest", "bilinear", "bicubic", "area"]
INTERPOLATIONS: tuple[Interpolation, ...] = get_args(Interpolation)
_FILTERS = {"nearest": "NEAREST", "bilinear": "BILINEAR", "bicubic": "BICUBIC", "area": "BOX"}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the pixels of an image come to lie: position x becomes ``x * scale + offset``.

    Attributes:
        scale: vertical and horizontal.
        offset: likewise, in pixels of the result.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)

    def corners(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (n, 4) of x1, y1, x2, y2 in the image, as they lie in the result."""
        (down, across), (top, left) = self.scale, self.offset
        moved = boxes * (across, down, across, down) + (left, top, left, top)
        return moved.astype(np.float32)


def resized_size(height: int, width: int, size: Sequence[int]) -> tuple[int, int]:
    """What an image of a size is resized to.

    Args:
        height: of the image.
        width: of the image.
        size: (shorter side,), which keeps the image's proportions, or (height, width).
    """
    if len(size) == 2:
        return size[0], size[1]
    (side,) = size
    if height <= width:
        return side, max(1, side * width // height)
    return max(1, side * height // width), side


def fitted_size(height: int, width: int, frame: Sequence[int]) -> tuple[int, int]:
    """The greatest size in the image's proportions that a frame (height, width) holds."""
    ratio = min(frame[0] / height, frame[1] / width)
    return (
        min(frame[0], max(1, round(height * ratio))),
        min(frame[1], max(1, round(width * ratio))),
    )


def resize(
    image: NDArray[np.uint8], size: tuple[int, int], interpolation: Interpolation
) -> NDArray[np.uint8]:
    """An image (height, width, channels) in another size, as Pillow resizes it.

    Pillow's bilinear and bicubic filters widen with the factor when an image is made smaller, as
    torchvision's and TensorFlow's do with ``antialias``; OpenCV's do not.
    """
    from PIL import Image

    if image.shape[:2] == size:
        return image
    how = Image.Resampling[_FILTERS[interpolation]]
    # one plane at a time: Pillow has no images of two channels, and mixes alpha into colours
    planes = [
        np.asarray(Image.fromarray(image[..., channel]).resize((size[1], size[0]), how))
        for channel in range(image.shape[-1])
    ]
    return np.stack(planes, axis=-1)


def crop(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """The middle of an image (height, width, channels); it must be at least as large."""
    top, left = ((image.shape[axis] - size[axis]) // 2 for axis in (0, 1))
    return image[top : top + size[0], left : left + size[1]]


def letterbox(
    image: NDArray[np.uint8], frame: tuple[int, int], interpolation: Interpolation, fill: int
) -> NDArray[np.uint8]:
    """An image in the middle of a frame (height, width), with a colour around it."""
    height, width = fitted_size(image.shape[0], image.shape[1], frame)
    found = np.full((*frame, image.shape[-1]), fill, np.uint8)
    top, left = (frame[0] - height) // 2, (frame[1] - width) // 2
    found[top : top + height, left : left + width] = resize(image, (height, width), interpolation)
    return found
