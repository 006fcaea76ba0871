"""What stands between a batch of floats and one artefact's input and output.

Layout, grid, one sample at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeq.target import TensorSpec

WHOLE_NUMBERS = ("int32", "int64")
"""The types of an output without a grid that stands for itself, such as the number of a class."""


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


def enter(batch: NDArray[np.float32], spec: TensorSpec) -> NDArray[np.generic]:
    """The batch as the artefact takes it.

    In its layout, contiguous, on the input's grid where it has one.

    Raises:
        ArtefactError: the batch does not fit, or holds NaN, for which a grid has no integer.
    """
    values = np.ascontiguousarray(fit(batch, spec))
    if spec.params is None:
        return values
    if np.isnan(values).any():
        raise ArtefactError(
            "the batch holds NaN, which no integer input can take",
            hint="look for the NaN in the data or its normalisation",
        )
    return spec.params.quantize(values)


def leave(values: NDArray[np.generic], spec: TensorSpec) -> NDArray[np.float32]:
    """The artefact's output as real values, float32."""
    if spec.params is None:
        return values.astype(np.float32)
    return spec.params.dequantize(values.astype(np.int32))


def join(samples: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
    """One tensor's values of many samples, batch first.

    A leading 1 is the batch, anything else gets one put before it.
    """
    return np.concatenate([s if s.ndim and s.shape[0] == 1 else s[None] for s in samples])
