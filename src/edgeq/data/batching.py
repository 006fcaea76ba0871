"""From raw images to what a network is fed, one batch at a time.

So memory does not grow with the data set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import ArtefactError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edgeq.data.source import DataSource, Split
    from edgeq.target import TensorSpec


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


def fit(batch: NDArray[np.float32], spec: TensorSpec) -> NDArray[np.float32]:
    """The batch in the layout that an artefact's input has.

    Args:
        batch: float32, (samples, *spec.shape), or images in NCHW where ``spec`` is (height, width,
            channels). A batch that fits ``spec`` as it is stays as it is, unless it fits in both
            ways: then it is NCHW, as all data of edgeq are.
        spec: the input.

    Raises:
        ArtefactError: no samples, or another shape.
    """
    batch = np.asarray(batch, np.float32)
    if batch.ndim == 0 or len(batch) == 0:
        raise ArtefactError("the batch holds no samples", hint="give at least one")
    sample = batch.shape[1:]
    in_both = spec.channels_last and len(sample) == 3 and len(set(sample)) == 1
    if sample == spec.shape and not in_both:
        return batch
    if len(sample) == 3 and (sample[1], sample[2], sample[0]) == spec.shape:
        return batch.transpose(0, 2, 3, 1)
    raise ArtefactError(
        f"the model wants samples of shape {spec.shape} at its input {spec.name!r}, the "
        f"data gives {sample}",
        hint="use the data set that the model was made for, or resize the samples",
    )
