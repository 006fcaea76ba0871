"""Canvases with several handwritten digits, from which labelled data sets for tasks are made.

Each canvas is 64 x 64 pixels with one to four digits of :mod:`~edgeq.data.readers.digits`, 12 to 28
pixels a side, that do not overlap, over faint noise. Canvases of a split show digits of the same
split of ``digits`` alone, so that no handwriting is both trained on and tested.

All is drawn from raw words of PCG64, which NumPy promises for ever, and computed in integers: the
same pixels on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.data.boxes import Boxes
from edgeq.data.readers import digits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.data.source import Split

DIGITS = tuple(str(digit) for digit in range(10))
"""The classes."""
SIZE = 64
MOST_DIGITS = 4
SMALLEST, LARGEST = 12, 28
"""The sides of a digit, in pixels, both included."""
COUNTS = {"train": 1600, "validation": 200, "test": 400}
"""Canvases of each split."""
_NOISE = 48  # the background is darker
_INK = 80  # a pixel that belongs to a digit is at least as bright
_TRIES = 20  # at a free place for a digit


@dataclass(frozen=True, slots=True, eq=False)
class Canvases:
    """A split's canvases with all that is known of them.

    Attributes:
        images: uint8, (n, 64, 64, 1).
        boxes: of each canvas, around the ink of each digit.
        masks: uint8, (n, 64, 64): 0 where there is no ink, else 1 + the digit's class.
    """

    images: NDArray[np.uint8]
    boxes: tuple[Boxes, ...]
    masks: NDArray[np.uint8]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many digits each canvas has: int64, (n,)."""
        return np.array([len(boxes) for boxes in self.boxes])

    __repr__ = brief


class Draws:
    """Chance, from raw words of PCG64."""

    def __init__(self, seed: int) -> None:
        self._source = np.random.PCG64(seed)

    def below(self, limit: int) -> int:
        """A whole number from 0 to ``limit - 1``."""
        return int(self.many(limit, 1)[0])

    def many(self, limit: int, count: int) -> NDArray[np.int64]:
        """So many of them: int64, (count,)."""
        words = self._source.random_raw(count) >> np.uint64(32)
        return (words * np.uint64(limit) >> np.uint64(32)).astype(np.int64)


def canvases(name: str) -> Canvases:
    """The canvases of a split, ``train``, ``validation`` or ``test``."""
    part: Split = getattr(digits.read(()), name)
    pixels, draws = part.images[:][..., 0], Draws(list(COUNTS).index(name))
    drawn = [_canvas(pixels, part.class_labels, draws) for _ in range(COUNTS[name])]
    images, boxes, masks = zip(*drawn, strict=True)
    return Canvases(np.stack(images)[..., np.newaxis], tuple(boxes), np.stack(masks))


def scaled(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """A grey image, (h, w), at another size, between pixels bilinearly, in integers.

    Pixel centres are where they are in the old image, as in ONNX's ``half_pixel``.
    """
    rows, columns = _between(image.shape[0], height), _between(image.shape[1], width)
    wide = image.astype(np.int64)
    for axis, (low, high, share) in enumerate((rows, columns)):
        share = share.reshape((-1, 1) if axis == 0 else (1, -1))
        wide = wide.take(low, axis) * (256 - share) + wide.take(high, axis) * share
    return ((wide + (1 << 15)) >> 16).astype(np.uint8)


def _between(before: int, after: int) -> tuple[NDArray[np.int64], ...]:
    """For each new pixel the two old ones that it lies between, and the second's share of 256."""
    place = ((2 * np.arange(after) + 1) * before * 256 // (2 * after) - 128).clip(
        0, (before - 1) * 256
    )
    low = place >> 8
    return low, np.minimum(low + 1, before - 1), place & 255


def _canvas(
    digits_of: NDArray[np.uint8], labels: NDArray[np.int64], draws: Draws
) -> tuple[NDArray[np.uint8], Boxes, NDArray[np.uint8]]:
    """A canvas with some of the digits, (n, 8, 8), its boxes, and its mask."""
    image = draws.many(_NOISE, SIZE * SIZE).reshape(SIZE, SIZE).astype(np.uint8)
    mask, taken = np.zeros((SIZE, SIZE), np.uint8), np.zeros((SIZE, SIZE), bool)
    corners, classes = [], []
    for _ in range(1 + draws.below(MOST_DIGITS)):
        which, side = draws.below(len(labels)), SMALLEST + draws.below(LARGEST - SMALLEST + 1)
        digit, label = scaled(digits_of[which], side, side), int(labels[which])
        for _ in range(_TRIES):
            top, left = draws.many(SIZE - side + 1, 2)
            place = np.s_[top : top + side, left : left + side]
            if not taken[place].any():
                break
        else:
            continue
        ink = digit >= _INK
        rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
        taken[place] = True
        image[place] = np.maximum(image[place], digit)
        mask[place][ink] = label + 1
        corners.append(
            (left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1)
        )
        classes.append(label)
    return image, Boxes(np.array(corners, np.float32), np.array(classes, np.int64)), mask
