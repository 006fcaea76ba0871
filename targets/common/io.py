"""What stands between a batch of floats and one artefact's input and output.

Layout, grid, one sample at a time.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from edgeq.data.batching import fit
from edgeq.errors import ArtefactError, TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edgeq.target import TensorSpec

WHOLE_NUMBERS = ("int32", "int64")
"""The types of an output without a grid that stands for itself, such as the number of a class."""


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


def readable(specs: Sequence[Callable[[], TensorSpec]]) -> tuple[TensorSpec, ...]:
    """The outputs of an artefact: the first in any case, of the others those that can be read.

    Args:
        specs: makes the description of each, or refuses it.

    Raises:
        ArtefactError: the first cannot be read.
    """
    found = [specs[0]()]
    for spec in specs[1:]:
        with suppress(
            ArtefactError, TargetError
        ):  # such as the number of boxes, which is no tensor of a sample
            found.append(spec())
    return tuple(found)


def join(samples: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
    """One tensor's values of many samples, batch first.

    A leading 1 is the batch, anything else gets one put before it.
    """
    return np.concatenate([s if s.ndim and s.shape[0] == 1 else s[None] for s in samples])
