"""What the papers do to training images, on a whole batch at once.

Chance is drawn first, and what it chose applied in integers.

The draws are small, the work is indexing and integer arithmetic, so that NumPy arrays and tensors
on any device give the same pixels: the same code runs on both.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

PADDING = 4
ROTATION_DEGREES, SHIFT, ZOOM = 15.0, 0.1, 0.1
"""The max turn, shift (a share of the size) and zoom of :class:`RandomAffine`.

Yun and Wong do not publish theirs; these are ours.
"""
_POINT = 8  # binary places of a position between two pixels
_ONE = 1 << _POINT

# NumPy arrays, or tensors of torch, which the core does not import; both index, add, multiply,
# shift and compare alike.
Array = Any


@dataclass(frozen=True, slots=True, eq=False)
class _Draws:
    """What was drawn for one batch, an array a field."""

    def moved(self, move: Callable[[NDArray[np.int64]], Array]) -> Self:
        """The same draws with each array passed through ``move``, such as onto a device."""
        return type(self)(*(move(getattr(self, field.name)) for field in fields(self)))

    def take(self, where: slice) -> Self:
        """The draws of a part of the batch."""
        return type(self)(
            *(
                value if (value := getattr(self, field.name)).shape[0] == 1 else value[where]
                for field in fields(self)
            )
        )


@dataclass(frozen=True, slots=True, eq=False)
class CropFlip(_Draws):
    """Pad by 4 black pixels, crop at random to the old size, and mirror one in two.

    He et al., 2016, Sec. 4.2.

    Attributes:
        rows: (n, height), int64, the row of the image that each row comes from; outside it is
            black.
        columns: (n, width), int64, likewise.
    """

    rows: Array
    columns: Array

    @classmethod
    def draw(cls, shape: tuple[int, ...], rng: np.random.Generator) -> Self:
        """For images of a shape (n, height, width, channels)."""
        count, height, width = shape[:3]
        top, left = rng.integers(0, 2 * PADDING + 1, (2, count)) - PADDING
        mirrored = rng.random(count) < 0.5
        across = np.where(mirrored[:, np.newaxis], np.arange(width)[::-1], np.arange(width))
        return cls(top[:, np.newaxis] + np.arange(height), left[:, np.newaxis] + across)

    def apply(self, images: Array) -> Array:
        """Crop and mirror.

        Another batch, uint8, (n, height, width, channels), on the device of ``images``.
        """
        return _pick(images, self.rows[:, :, None], self.columns[:, None, :])


@dataclass(frozen=True, slots=True, eq=False)
class RandomAffine(_Draws):
    """Turn, shift, zoom and mirror in both directions, between pixels bilinearly.

    Black comes in from outside.

    What Yun and Wong, *Do all MobileNets quantize poorly?* (2021), Sec. 4, name; its extent is not
    published.

    Attributes:
        matrix: (n, 6), int64 with 16 binary places: the source row is ``m0 y + m1 x + m2``, its
            column ``m3 y + m4 x + m5``.
        y: (1, height, 1), int64, 0, 1, 2, ...
        x: (1, 1, width), likewise.
    """

    matrix: Array
    y: Array
    x: Array

    @classmethod
    def draw(cls, shape: tuple[int, ...], rng: np.random.Generator) -> Self:
        """For images of a shape (n, height, width, channels)."""
        count, height, width = shape[:3]
        angle = np.deg2rad(rng.uniform(-ROTATION_DEGREES, ROTATION_DEGREES, count))
        down, right = rng.uniform(-SHIFT, SHIFT, (2, count)) * ((height,), (width,))
        zoom = rng.uniform(1 - ZOOM, 1 + ZOOM, count)
        upside, mirror = np.where(rng.random((2, count)) < 0.5, -1.0, 1.0)
        sine, cosine = np.sin(angle) / zoom, np.cos(angle) / zoom
        middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
        rows = (
            upside * cosine,
            upside * sine,
            middle_y - upside * (cosine * (middle_y + down) + sine * (middle_x + right)),
        )
        columns = (
            -mirror * sine,
            mirror * cosine,
            middle_x - mirror * (cosine * (middle_x + right) - sine * (middle_y + down)),
        )
        matrix = np.stack([*rows, *columns], axis=1)
        return cls(
            np.rint(matrix * _ONE * _ONE).astype(np.int64),
            np.arange(height)[None, :, None],
            np.arange(width)[None, None, :],
        )

    def apply(self, images: Array) -> Array:
        """Warp: another batch, uint8, (n, height, width, channels), on the device of ``images``."""
        m = [self.matrix[:, i, None, None] for i in range(6)]
        row, column = ((m[i] * self.y + m[i + 1] * self.x + m[i + 2]) >> _POINT for i in (0, 3))
        top, left = row >> _POINT, column >> _POINT
        lower, further = (row & (_ONE - 1))[..., None], (column & (_ONE - 1))[..., None]
        upper = _pick(images, top, left) * (_ONE - further) + _pick(images, top, left + 1) * further
        under = (
            _pick(images, top + 1, left) * (_ONE - further)
            + _pick(images, top + 1, left + 1) * further
        )
        warped = images[:, :, :] * 0
        warped[:] = (upper * (_ONE - lower) + under * lower + _ONE * _ONE // 2) >> (2 * _POINT)
        return warped


def _pick(images: Array, rows: Array, columns: Array) -> Array:
    """The pixel of each image at rows and columns that broadcast to (n, height, width)."""
    height, width = images.shape[1:3]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    # 0, 1, 2, ..., on the device of what it is made from
    sample = (rows[:, :1, :1] * 0 + 1).cumsum(0) - 1
    return images[sample, rows.clip(0, height - 1), columns.clip(0, width - 1)] * inside[..., None]


def crop_flip(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """:class:`CropFlip` of one batch.

    Args:
        images: uint8, (n, height, width, channels), not yet normalised.
        rng: where chance comes from; the same generator state gives the same batch.

    Returns:
        A new array of the same shape.
    """
    augmented: NDArray[np.uint8] = CropFlip.draw(images.shape, rng).apply(images)
    return augmented
