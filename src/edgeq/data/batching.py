"""From raw images to what a network is fed, one batch at a time.

So memory does not grow with the data set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edgeq.data.source import DataSource, Split


def normalize(images: NDArray[np.uint8], source: DataSource) -> NDArray[np.float32]:
    """``(image / 255 - mean) / std``, computed in float32 in this order.

    Args:
        images: uint8, (n, height, width, channels).
        source: whose mean and deviation to use.

    Returns:
        float32, (n, channels, height, width), contiguous.
    """
    scaled = images.transpose(0, 3, 1, 2).astype(np.float32, order="C")
    scaled /= np.float32(255)
    scaled -= np.array(source.mean, np.float32)[:, np.newaxis, np.newaxis]
    scaled /= np.array(source.std, np.float32)[:, np.newaxis, np.newaxis]
    return scaled


def batches(
    split: Split, source: DataSource, size: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Normalised images, (n, channels, height, width), and their labels, in the split's order.

    The last may be smaller.

    Raises:
        UsageError: ``size`` is below 1.
    """
    if size < 1:
        raise UsageError(f"a batch of {size} samples cannot be", hint="ask for 1 or more")
    return (
        (normalize(split.images[i : i + size], source), split.labels[i : i + size])
        for i in range(0, len(split), size)
    )
