"""What stands between a batch of floats and one artefact's input and output.

Layout, grid, one sample at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgeq.data.batching import fit, samples_in, whole_numbers
from edgeq.errors import ArtefactError, TargetError, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from edgeq.target import Batch, TensorSpec

WHOLE_NUMBERS = ("int32", "int64")
"""The types of ends without a grid whose numbers stand for themselves: classes, or tokens."""


def enter_all(batch: Batch, specs: Sequence[TensorSpec]) -> list[NDArray[np.generic]]:
    """A batch as the artefact takes it, an array for each input; see :func:`enter`.

    Raises:
        ArtefactError: an input has no samples, or not as many as the others.
    """
    arrays = _by_input(batch, specs)
    counts = {len(array) for array in arrays}
    if len(counts) > 1:
        told = ", ".join(
            f"{len(array)} of {spec.name}" for array, spec in zip(arrays, specs, strict=True)
        )
        raise ArtefactError(
            f"the inputs have not equally many samples: {told}",
            hint="give every input as many samples",
        )
    return [enter(array, spec) for array, spec in zip(arrays, specs, strict=True)]


def each_sample(
    entered: Sequence[NDArray[np.generic]], specs: Sequence[TensorSpec]
) -> Iterator[list[NDArray[np.generic]]]:
    """Sample by sample, with the batch of one of each input that has one."""
    for values in zip(*entered, strict=True):
        yield [
            value[None] if spec.batched else value
            for value, spec in zip(values, specs, strict=True)
        ]


def _by_input(batch: Batch, specs: Sequence[TensorSpec]) -> list[NDArray[np.float32]]:
    """The array of each input: by its name, or the only one for the only input."""
    if not isinstance(batch, Mapping):
        batch = {"": np.asarray(batch)}
    if len(batch) == len(specs) == 1:
        return list(batch.values())
    by_name = {_plain(name): array for name, array in batch.items()}
    missing = [spec.name for spec in specs if _plain(spec.name) not in by_name]
    if missing:
        told = ", ".join(name or "one without a name" for name in batch)
        raise ArtefactError(
            f"the model has the inputs {', '.join(spec.name for spec in specs)}, and the data "
            f"give none for {', '.join(missing)}; they give {told}",
            hint="give an array for each input, called as in the model",
        )
    return [by_name[_plain(spec.name)] for spec in specs]


def _plain(name: str) -> str:
    """A name without what TensorFlow's converters put around it."""
    return name.removeprefix("serving_default_").partition(":")[0]


def enter(batch: NDArray[np.float32], spec: TensorSpec) -> NDArray[np.generic]:
    """The batch as the artefact takes it.

    In its layout, contiguous, on the input's grid where it has one.

    Raises:
        ArtefactError: the batch does not fit, or holds NaN, for which a grid has no integer.
    """
    values = np.ascontiguousarray(fit(batch, spec))
    if spec.params is None:
        return (
            values
            if spec.dtype == "float32"
            else whole_numbers(values, spec.dtype, spec.name, spec.rows)
        )
    if np.isnan(values).any():
        raise ArtefactError(
            "the batch holds NaN, which no integer input can take",
            hint="look for the NaN in the data or its normalisation",
        )
    return spec.params.quantize(values)


def zeros(specs: Sequence[TensorSpec]) -> list[NDArray[np.generic]]:
    """A sample of zeros.

    Raises:
        ArtefactError: an input is larger than any memory.
    """
    made = []
    for spec in specs:
        shape = (1, *spec.shape) if spec.batched else spec.shape
        try:
            made.append(np.zeros(shape, spec.dtype))
        except (MemoryError, ValueError) as error:
            raise ArtefactError(
                f"the input {shown(spec.name)} has {prod(shape):.0e} numbers: no memory holds them",
                hint="look at its shape; the file may be damaged",
            ) from error
    return made


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


def require_one(batch: Batch) -> None:
    """See that a batch whose latency is taken holds one sample.

    Raises:
        ArtefactError: it holds another number.
    """
    count = samples_in(batch)
    if count != 1:
        raise ArtefactError(
            f"latency is taken one sample at a time, and the batch holds {count}",
            hint="give a batch of one",
        )


def join(samples: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
    """One tensor's values of many samples, batch first.

    A leading 1 is the batch, anything else gets one put before it.
    """
    return np.concatenate([s if s.ndim and s.shape[0] == 1 else s[None] for s in samples])
