"""What the papers do to CIFAR images while training, on a whole batch at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
    from numpy.typing import NDArray

PADDING = 4


def crop_flip(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Pad by 4 black pixels, crop at random to the old size, and mirror one in two (He et al., 2016, Sec. 4.2).

    Args:
        images: uint8, (n, height, width, channels), not yet normalised.
        rng: where chance comes from; the same generator state gives the same batch.

    Returns:
        A new array of the same shape.
    """
    count, (height, width) = len(images), images.shape[1:3]
    padded = np.pad(images, ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0)))
    top, left = rng.integers(0, 2 * PADDING + 1, (2, count))
    windows = sliding_window_view(padded, (height, width), axis=(1, 2))
    cropped = windows[np.arange(count), top, left].transpose(0, 2, 3, 1)
    mirrored = rng.random(count) < 0.5
    augmented: NDArray[np.uint8] = np.where(mirrored[:, np.newaxis, np.newaxis, np.newaxis], cropped[:, :, ::-1], cropped)
    return augmented
