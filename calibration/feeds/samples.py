"""Calibration samples as a model takes them: one array for each input, in pieces of its batch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from edgeq.calibration._nodes import name_of, shape_of
from edgeq.data.batching import arranged, samples_in, way_to, whole_numbers
from edgeq.errors import ArtefactError
from edgeq.qdq.nodes import rows_picked

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from edgeq.target import Batch

_WHITE = 255


def feeds(
    batch: Batch, inputs: Sequence[ir.Value], most: int | None = None, at_once: int | None = None
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """A batch as the model takes it: an array for each input, by name.

    Whole, or ``at_once``, where the batch of the inputs is open. Where one of them has a fixed
    batch, in pieces of that size, the last one filled up with repetitions. An input without a
    batch, such as a state, takes one sample at a time.

    Args:
        batch: the samples.
        inputs: of the model.
        most: how many samples are used; all by default.
        at_once: how many samples an open batch has, at most; all by default.

    Raises:
        ArtefactError: an input has no samples, or samples of another type or shape than it takes.
    """
    arrays = by_name(batch, inputs)
    count = min(samples_in(batch), most or samples_in(batch))
    size = fixed_batch(batch, inputs)
    size = min(count, at_once or count) if size is None else size
    for start in range(0, count, size or 1):
        yield {
            name_of(value): _part(arrays[name_of(value)][start : min(start + size, count)], value)
            for value in inputs
        }


def fixed_batch(batch: Batch, inputs: Sequence[ir.Value]) -> int | None:
    """How many samples the model takes at a time; None for any number.

    Args:
        batch: some samples.
        inputs: of the model.

    Raises:
        ArtefactError: see :func:`feeds`.
    """
    arrays = by_name(batch, inputs)
    pieces = {
        size for value in inputs if (size := _piece(arrays[name_of(value)], value)) is not None
    }
    if len(pieces) > 1:
        told = " and ".join(str(size) for size in sorted(pieces))
        raise ArtefactError(
            f"the inputs of the model take {told} samples at a time",
            hint="export the model with the same batch for all of its inputs",
        )
    return next(iter(pieces), None)


def why_alone(what: str) -> str:
    """Why a network takes no more than one sample, of the error that says that it cannot."""
    line = what.splitlines()[-1].strip()
    failed = re.search(r"while running (\w+) node", line)  # of ONNX Runtime, with its source files
    return f"a {failed[1]} in it fixes the number of samples" if failed else line


class WholePixels:
    """Which inputs are fed whole numbers of 0 to 255 and nothing else: the pixels as they are.

    Attributes:
        names: of those inputs, as far as the stream was seen.
        bright: those of them that more than half of the levels were seen of.

    Args:
        inputs: of the model.
        pixels: inputs that take nothing else.
    """

    def __init__(self, inputs: Sequence[ir.Value], pixels: Collection[str] = ()) -> None:
        self._inputs, self._pixels = inputs, pixels
        self.names = {name_of(value) for value in inputs if not rows_picked(value)}
        self.bright = set(pixels)

    def passing(self, stream: Iterable[Batch]) -> Iterator[Batch]:
        """The stream as it is, while its batches are looked at.

        Raises:
            ArtefactError: an input that takes pixels is fed something else.
        """
        for batch in stream:
            arrays = by_name(batch, self._inputs) if self.names else {}
            for name in sorted(self.names):
                if _whole(arrays[name]):
                    if arrays[name].max(initial=0) > _WHITE / 2:
                        self.bright.add(name)
                else:
                    self.names.discard(name)
                    self.bright.discard(name)
                    if name in self._pixels:
                        raise ArtefactError(
                            f"the input {name!r} takes uint8 pixels, and the samples are not whole "
                            "numbers of 0 to 255",
                            hint="feed the pixels as they are: --preprocess raw",
                        )
            yield batch


def _whole(values: NDArray[np.float32]) -> bool:
    return bool(((values >= 0) & (values <= _WHITE) & (values == np.rint(values))).all())


class Kept:
    """Some batches of a stream, evenly spread over it, in bounded memory.

    Each batch is kept while there is room. When there is none, every second one is given up, and
    from then on only every second one is kept.

    Attributes:
        batches: those kept, in their order.

    Args:
        most: how many samples are kept at the most.
        each: how many of a batch are kept; all by default.
    """

    def __init__(self, most: int, each: int | None = None) -> None:
        self._most, self._each, self._stride = most, each, 1
        self.batches: list[Batch] = []

    def passing(self, stream: Iterable[Batch]) -> Iterator[Batch]:
        """The stream as it is, while its batches are kept."""
        for number, batch in enumerate(stream):
            if number % self._stride == 0:
                self.batches.append(_first(batch, self._each))
            while len(self.batches) > 1 and sum(map(samples_in, self.batches)) > self._most:
                self.batches = self.batches[::2]
                self._stride *= 2
            yield batch


def _first(batch: Batch, count: int | None) -> Batch:
    if count is None:
        return batch
    if isinstance(batch, Mapping):
        return {name: array[:count].copy() for name, array in batch.items()}
    return batch[:count].copy()


def by_name(batch: Batch, inputs: Sequence[ir.Value]) -> dict[str, NDArray[np.float32]]:
    """A batch's array for each input of a model, in the axes and the type that it takes.

    Raises:
        ArtefactError: an input has none, or they have not equally many samples.
    """
    names = [name_of(value) for value in inputs]
    if not isinstance(batch, Mapping):
        batch = {names[0]: batch} if len(names) == 1 else {"": batch}
    if len(batch) == len(names) == 1:
        batch = {names[0]: next(iter(batch.values()))}
    missing = [name for name in names if name not in batch]
    if missing:
        raise ArtefactError(
            f"the model has the inputs {', '.join(names)}, and the samples have none for "
            f"{', '.join(missing)}",
            hint=f"give an array for each input, called as in the model; the samples have "
            f"{', '.join(filter(None, batch)) or 'one, without a name'}",
        )
    if len({len(batch[name]) for name in names}) > 1:
        told = ", ".join(f"{len(batch[name])} of {name}" for name in names)
        raise ArtefactError(
            f"the inputs have not equally many samples: {told}",
            hint="give every input as many samples",
        )
    return {name_of(value): _as_taken(batch[name_of(value)], value) for value in inputs}


def _as_taken(samples: NDArray[Any], value: ir.Value) -> NDArray[Any]:
    """Samples in the axes and the type of an input; eight-bit pixels as the floats they are."""
    shape = tuple(shape_of(value) or ())
    if not _fits(samples.shape[1:], shape[1:]) and not _fits(samples.shape[1:], shape):
        turned = arranged(samples, shape[1:])
        samples = samples if turned is None else turned
    if value.dtype is not None and (rows := rows_picked(value)):
        return whole_numbers(samples, value.dtype.numpy().name, name_of(value), rows)
    return samples.astype(np.float32) if samples.dtype == np.uint8 else samples


def _piece(array: NDArray[np.float32], value: ir.Value) -> int | None:
    """How many samples an input takes at a time; None for any number.

    Raises:
        ArtefactError: the samples have another type or shape.
    """
    shape = tuple(shape_of(value) or ())
    if array.dtype != np.float32 and not rows_picked(value):
        raise ArtefactError(
            f"a calibration batch is {array.dtype}, not float32",
            hint="whole numbers of 32 bits are taken for tokens: save pixels as uint8, and other "
            "numbers as float32, scaled as in training",
        )
    if _fits(array.shape[1:], shape[1:]):
        return shape[0]
    if _fits(array.shape[1:], shape):
        return 1
    wanted = ", ".join("any" if size is None else str(size) for size in shape[1:])
    raise ArtefactError(
        f"a calibration batch has the shape {array.shape}, and the model's input "
        f"{name_of(value)!r} wants samples of ({wanted})",
        hint=way_to(shape[1:], array.shape[1:]),
    )


def _fits(have: Sequence[int], want: Sequence[int | None]) -> bool:
    return len(have) == len(want) and all(
        size in (None, found) for size, found in zip(want, have, strict=True)
    )


def _part(rows: NDArray[np.float32], value: ir.Value) -> NDArray[np.float32]:
    """Rows of an array as an input takes them."""
    shape = tuple(shape_of(value) or ())
    if not _fits(rows.shape[1:], shape[1:]):
        rows = rows[0]
    elif shape[0] is not None and len(rows) != shape[0]:
        rows = np.resize(rows, (shape[0], *rows.shape[1:]))
    return np.ascontiguousarray(rows)


def for_one_sample(model: ir.Model) -> ir.Model | None:
    """A copy of a model whose batch is one, wherever that stands; None where it is open nowhere.

    For parts in which the batch does not stand first, as in attention or in stacked states: no
    integer runtime of ours has those for batches of any size.
    """
    batches = {value.shape[0] for value in model.graph.inputs if value.shape}
    names = {size.value for size in batches if isinstance(size, ir.SymbolicDim)}
    if not names:
        return None
    alone = model.clone()
    for value in alone.graph.inputs:
        if value.shape is not None:
            value.shape = ir.Shape(
                [
                    1 if _is_batch(size, axis, names) else size
                    for axis, size in enumerate(value.shape)
                ]
            )
    return alone


def _is_batch(size: int | ir.SymbolicDim, axis: int, names: set[str | None]) -> bool:
    """Whether a dimension is open, and stands first or is called as one that does."""
    if not isinstance(size, ir.SymbolicDim):
        return False
    return axis == 0 or (size.value is not None and size.value in names)
