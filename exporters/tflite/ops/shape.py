"""Operators that move integers: most of them only rename axes of what is stored already."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeq.exporters.tflite.context import Op
from edgeq.exporters.tflite.file.few_axes import axis_by_axis, fits
from edgeq.exporters.tflite.file.layouts import (
    natural,
    onnx_order,
    renamed,
    same_order,
    stored_shape,
)
from edgeq.exporters.tflite.storage import refused
from edgeq.exporters.tflite.windows import pad
from edgeq.formats.tflite_schema import schema
from edgeq.qdq.axes import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.exporters.tflite.context import LoweringContext
    from edgeq.qdq.ir import QdqOp


def lower_transpose(op: QdqOp, context: LoweringContext) -> None:
    """Record a Transpose: the stored tensor stays, its axes get other names."""
    source = context.operand(op)
    layout = context.layout(source)
    context.place(op.output, context.read(source, layout), renamed(layout, _ints(op, "perm")))


def lower_identity(op: QdqOp, context: LoweringContext) -> None:
    """Append nothing but a RESHAPE to the same shape: a copy under another name."""
    source = context.operand(op)
    layout = context.layout(source)
    with context.writing(op, layout) as (target, _):
        context.reshape(context.read(source, layout), target, stored_shape(op.output.shape, layout))


def lower_reshape(op: QdqOp, context: LoweringContext) -> None:
    """Append a Reshape, Flatten, Squeeze or Unsqueeze.

    A TRANSPOSE comes first only where channels and pixels mix.
    """
    source = context.operand(op)
    if math.prod(source.shape) != math.prod(op.output.shape):
        why = "it merges the batch with other dimensions, and the file does not tell how"
        raise refused(op, why, "export the model with its batch fixed")
    layout = context.layout(source)
    ordered = onnx_order(len(source.shape))
    if not same_order(source.shape, layout, ordered):
        layout = ordered
    rank = len(op.output.shape)
    is_image = context.channels.get(op.output.name) == CHANNELS
    wanted = (
        natural(rank)
        if is_image and same_order(op.output.shape, natural(rank), onnx_order(rank))
        else onnx_order(rank)
    )
    with context.writing(op, wanted) as (target, _):
        context.reshape(context.read(source, layout), target, stored_shape(op.output.shape, wanted))


_MOST_JOINED = 10  # tensors in one CONCATENATION, as many as TensorFlow Lite Micro takes


def lower_concat(op: QdqOp, context: LoweringContext) -> None:
    """Append a Concat; all its tensors lie on one grid by then."""
    tensors = [context.operand(op, position) for position in range(len(op.inputs))]
    layout = context.layout(tensors[0])
    options = schema.ConcatenationOptionsT()
    options.axis = layout.index(op.integer("axis"))
    indices = [context.read(tensor, layout) for tensor in tensors]
    sizes = [tensor.shape[op.integer("axis")] for tensor in tensors]
    level = 0
    with context.writing(op, layout) as (target, _):
        while len(indices) > _MOST_JOINED:
            level += 1
            starts = range(0, len(indices), _MOST_JOINED)
            parts = [slice(start, start + _MOST_JOINED) for start in starts]
            sizes = [sum(sizes[part]) for part in parts]
            joins = [
                context.tensor(op.output, layout, f"~part{level}_{at}", _with_size(op, size))
                for at, size in enumerate(sizes)
            ]
            for part, join in zip(parts, joins, strict=True):
                context.builder.operator(Op.CONCATENATION, 2, indices[part], [join], options)
            indices = joins
        context.builder.operator(Op.CONCATENATION, 2, indices, [target], options)


def _with_size(op: QdqOp, size: int) -> list[int]:
    """The shape of an operator's output with another size along its axis."""
    shape = list(op.output.shape)
    shape[op.integer("axis")] = size
    return shape


def lower_slice(op: QdqOp, context: LoweringContext) -> None:
    """Append a Slice: SLICE, or STRIDED_SLICE where it skips elements."""
    source = context.operand(op)
    layout = context.layout(source)
    begins, ends, steps = [0] * len(layout), list(source.shape), [1] * len(layout)
    for axis, start, end, step in zip(
        _ints(op, "axes"), _ints(op, "starts"), _ints(op, "ends"), _ints(op, "steps"), strict=True
    ):
        begins[axis], ends[axis], steps[axis] = start, end, step
    first, last, stride = ([values[axis] for axis in layout] for values in (begins, ends, steps))
    index, shape = context.read(source, layout), stored_shape(source.shape, layout)
    with context.writing(op, layout) as (target, _):
        if steps == [1] * len(layout):
            cut(context, index, target, shape, first, last)
        elif fits(context.builder, "STRIDED_SLICE", len(layout)):
            _stride(context, index, target, shape, first, last, stride)
        else:
            sizes = stored_shape(op.output.shape, layout)
            changed = {
                axis: size
                for axis, size in enumerate(sizes)
                if size != shape[axis] or stride[axis] != 1
            }
            for part in axis_by_axis(context.builder, index, target, shape, changed):
                _stride(
                    context,
                    part.source,
                    part.target,
                    part.shape,
                    (0, first[part.axis], 0),
                    (part.shape[0], last[part.axis], part.shape[2]),
                    (1, stride[part.axis], 1),
                )


def _stride(
    context: LoweringContext,
    source: int,
    target: int,
    shape: Sequence[int],
    begins: Sequence[int],
    ends: Sequence[int],
    steps: Sequence[int],
) -> None:
    """Append a STRIDED_SLICE; an open batch stays open."""
    options = schema.StridedSliceOptionsT()
    options.beginMask = sum(
        1 << i
        for i, (begin, step) in enumerate(zip(begins, steps, strict=True))
        if begin == 0 and step == 1
    )
    options.endMask = sum(
        1 << i
        for i, (end, size, step) in enumerate(zip(ends, shape, steps, strict=True))
        if _to_the_end(end, size, step)
    )
    numbers = context.builder.numbers
    context.builder.operator(
        Op.STRIDED_SLICE,
        2,
        [source, numbers(begins), numbers(ends), numbers(steps)],
        [target],
        options,
    )


def lower_pad(op: QdqOp, context: LoweringContext) -> None:
    """Append a Pad with zeros; where it takes away at an end, a SLICE comes first."""
    source = context.operand(op)
    layout = context.layout(source)
    pads, rank = _ints(op, "pads"), len(layout)
    ends = [(pads[axis], pads[axis + rank]) for axis in layout]
    begins = [max(-before, 0) for before, _ in ends]
    stops = [
        source.shape[axis] - max(-after, 0) for axis, (_, after) in zip(layout, ends, strict=True)
    ]
    if any(stop <= begin for begin, stop in zip(begins, stops, strict=True)):
        raise refused(op, "it takes away more than there is", "pad what is left directly")
    cuts, grows = any(min(pair) < 0 for pair in ends), any(max(pair) > 0 for pair in ends)
    index = context.read(source, layout)
    with context.writing(op, layout) as (target, _):
        if cuts:
            sizes = [stops[layout.index(axis)] - begins[layout.index(axis)] for axis in range(rank)]
            reached = context.tensor(op.output, layout, "~cut", sizes) if grows else target
            cut(context, index, reached, stored_shape(source.shape, layout), begins, stops)
            index = reached
        if grows or not cuts:
            kept = [stop - begin for begin, stop in zip(begins, stops, strict=True)]
            more = [(max(before, 0), max(after, 0)) for before, after in ends]
            _grow(context, index, target, kept, more)


def _grow(
    context: LoweringContext,
    source: int,
    target: int,
    shape: Sequence[int],
    pads: Sequence[tuple[int, int]],
) -> None:
    """Append a PAD with zeros, or one for each axis."""
    if fits(context.builder, "PAD", len(shape)):
        pad(context, source, target, tuple(pads))
        return
    changed = {axis: shape[axis] + sum(ends) for axis, ends in enumerate(pads) if any(ends)}
    for part in axis_by_axis(context.builder, source, target, shape, changed):
        pad(context, part.source, part.target, ((0, 0), pads[part.axis], (0, 0)))


def cut(
    context: LoweringContext,
    source: int,
    target: int,
    shape: Sequence[int],
    begins: Sequence[int],
    ends: Sequence[int],
) -> None:
    """Append a SLICE, or one for each axis that it cuts; an open batch stays open."""
    if not fits(context.builder, "SLICE", len(shape)):
        changed = {
            axis: end - begin
            for axis, (begin, end) in enumerate(zip(begins, ends, strict=True))
            if end - begin != shape[axis]
        }
        for part in axis_by_axis(context.builder, source, target, shape, changed):
            before, _, behind = part.shape
            first, last = begins[part.axis], ends[part.axis]
            cut(
                context,
                part.source,
                part.target,
                part.shape,
                (0, first, 0),
                (before, last, behind),
            )
        return
    is_open = context.builder.dynamic_batch and ends[0] - begins[0] == shape[0]
    sizes = [
        -1 if i == 0 and is_open else end - begin
        for i, (begin, end) in enumerate(zip(begins, ends, strict=True))
    ]
    numbers = context.builder.numbers
    context.builder.operator(
        Op.SLICE, 2, [source, numbers(begins), numbers(sizes)], [target], schema.SliceOptionsT()
    )


def _to_the_end(end: int, size: int, step: int) -> bool:
    """Whether a slice leaves nothing out at its end.

    Backwards, an end of -1 is before the first element.
    """
    return end == size if step > 0 else end < 0


def _ints(op: QdqOp, name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in np.atleast_1d(np.asarray(op.attributes[name])))
