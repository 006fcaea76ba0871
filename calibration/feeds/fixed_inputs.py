"""What a float model leaves open and its samples fix: sizes, and inputs of one number.

Detectors and recognisers are often exported for pictures of any size, and voice detectors for any
rate, which one number gives. Integers need both ahead of time: kernels have their windows, and
arithmetic on sizes its results. Only the batch stays open.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from edgeq.calibration._nodes import name_of
from edgeq.calibration.feeds.samples import by_name
from edgeq.calibration.precision import FLOATS, pixel_inputs
from edgeq.errors import ArtefactError
from edgeq.qdq.nodes import rows_picked

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from edgeq.target import Batch

    Arrays = Mapping[str, NDArray[Any]]
    Axes = list[int | ir.SymbolicDim]


def with_fixed_inputs(
    model: ir.Model, batches: Iterable[Batch], tell: Callable[[str], None]
) -> tuple[ir.Model, Iterator[Batch]]:
    """A model for the samples that it is given, and these samples.

    Args:
        model: the float model; left as it is.
        batches: its samples.
        tell: called with what was fixed, a line for each input.

    Raises:
        ArtefactError: the samples are not those of its inputs; or, while they are read, an input
            of one number gets another one.
    """
    stream = iter(batches)
    first = next(stream, None)
    inputs, pixels = model.graph.inputs, pixel_inputs(model)
    single = [value for value in inputs if _is_single(value, pixels)]
    if first is None or not (single or any(_open_axes(value) for value in inputs)):
        return model, chain(() if first is None else (first,), stream)
    copy, arrays = model.clone(), by_name(first, inputs)
    _fix_sizes(copy, arrays, tell)
    numbers = {
        name_of(value): arrays[name_of(value)][:1].copy()
        for value in single
        if arrays[name_of(value)].size
    }
    for value in tuple(copy.graph.inputs):
        if name_of(value) in numbers:
            _fix_number(copy, value, numbers[name_of(value)], tell)
    return copy, _unchanged(chain((first,), stream), numbers)


def _is_single(value: ir.Value, pixels: Collection[str]) -> bool:
    """Whether an input is one number that decides something, and no sample."""
    if value.shape is None or name_of(value) in pixels or rows_picked(value):
        return False
    return not value.shape or (value.dtype not in (None, *FLOATS) and list(value.shape) == [1])


def _fix_number(
    model: ir.Model, value: ir.Value, number: NDArray[Any], tell: Callable[[str], None]
) -> None:
    kind, shape = (value.dtype or ir.DataType.FLOAT).numpy(), [1] * len(value.shape or ())
    model.graph.inputs.remove(value)
    value.const_value = ir.tensor(number.astype(kind).reshape(shape), name=name_of(value))
    model.graph.register_initializer(value)
    tell(f"the input {name_of(value)!r} is one number: it is {number.item():g}, the samples'")


def _unchanged(stream: Iterable[Batch], numbers: Arrays) -> Iterator[Batch]:
    for batch in stream:
        for name, number in numbers.items():
            if isinstance(batch, dict) and not (np.asarray(batch[name]) == number).all():
                raise ArtefactError(
                    f"the input {name!r} is one number, and not the same in all samples",
                    hint="calibrate on the samples of one of them at a time, into a file each",
                )
        yield batch


def _fix_sizes(model: ir.Model, arrays: Arrays, tell: Callable[[str], None]) -> None:
    """Give each input the sizes of the samples, in place, but leave the batch open."""
    ones: set[str] = set()  # names of batches of one, as an input without an axis of samples says
    for value in model.graph.inputs:
        axes: Axes = list(value.shape or ())
        sizes = arrays[name_of(value)].shape
        if axes and len(sizes) == len(axes) + 1:  # the whole input is a sample
            ones.update(
                size.value
                for size, found in zip(axes, sizes[1:], strict=True)
                if isinstance(size, ir.SymbolicDim) and size.value and found == 1
            )
            shown = 0
        elif axes and len(sizes) == len(axes):
            shown = 1
        else:
            continue
        after: Axes = [
            *axes[:shown],
            *(_size(*each) for each in zip(axes[shown:], sizes[1:], strict=True)),
        ]
        if after != axes:
            told = ", ".join(str(size) for size in after[shown:])
            tell(f"the input {name_of(value)!r} leaves sizes open: they are ({told}), the samples'")
            value.shape = ir.Shape(after)
    for value in model.graph.inputs:
        axes = list(value.shape or ())
        if axes and isinstance(axes[0], ir.SymbolicDim) and axes[0].value in ones:
            alone: Axes = [1, *axes[1:]]
            value.shape = ir.Shape(alone)


def _size(stated: int | ir.SymbolicDim, found: int) -> int:
    return stated if isinstance(stated, int) else found


def _open_axes(value: ir.Value) -> bool:
    return any(not isinstance(size, int) for size in list(value.shape or ())[1:])
