"""Who reads which channel of a layer, followed through what only moves numbers about."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeq.calibration._nodes import (
    argument,
    constant,
    integer,
    ints,
    is_helper,
    number,
    output,
    shape_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir
    from numpy.typing import NDArray

    Channels = NDArray[np.int64]

_RESHAPES = frozenset(("Flatten", "Reshape", "Squeeze", "Unsqueeze"))


class Use(NamedTuple):
    """Numbers of a layer at an operator that computes something of them.

    Attributes:
        reader: the operator; None for an output of the graph.
        operand: which input of it they are.
        channels: which channel each number of one sample is, in the shape that is read.
    """

    reader: ir.Node | None
    operand: int
    channels: Channels


def uses_of(value: ir.Value, channels: Channels) -> Iterator[Use]:
    """Every use of the numbers of a tensor.

    Args:
        value: the tensor.
        channels: which channel each number of one sample is, of its shape.
    """
    if value.is_graph_output():
        yield Use(None, 0, channels)
    for reader, index in tuple(value.uses()):
        moved = _moved(reader, index, channels)
        if moved is None:
            yield Use(reader, index, channels)
            continue
        for made, found in moved:
            yield from uses_of(made, found)


def channels_of(layer: ir.Node) -> Channels | None:
    """The channel of each number that a layer makes of one sample; None of an unknown shape."""
    shape = _of_one(output(layer))
    if shape is None or len(shape) < 2:
        return None
    column = np.arange(shape[1]).reshape(1, -1, *[1] * (len(shape) - 2))
    return np.broadcast_to(column, shape)


def along(channels: Channels, axis: int) -> Channels | None:
    """The channels by all axes but one, along which they have to be the same; else None."""
    first: Channels = np.take(channels, 0, axis)
    return first if (channels == np.expand_dims(first, axis)).all() else None


def _moved(node: ir.Node, index: int, channels: Channels) -> list[tuple[ir.Value, Channels]] | None:
    """What an operator that moves numbers, or multiplies all by one, makes of them."""
    made = output(node)
    shape = _of_one(made)
    if node.domain or shape is None:
        return None
    if node.op_type == "Conv":
        return [(made, channels)] if index == 0 and _is_one_factor(node) else None
    if node.op_type in ("Mul", "Div"):
        others = [number(each) for each in node.inputs if each is not node.inputs[index]]
        one = bool(others) and others[0] is not None and shape == channels.shape
        return [(made, channels)] if one and (index == 0 or node.op_type == "Mul") else None
    if index:
        return None
    if node.op_type in _RESHAPES:
        return [(made, channels.reshape(shape))] if np.prod(shape) == channels.size else None
    if node.op_type == "Transpose":
        perm = ints(node, "perm", list(range(channels.ndim))[::-1])
        return [(made, channels.transpose(perm))]
    if node.op_type == "Split":
        axis = integer(node, "axis", 0)
        sizes = [_of_one(each) for each in node.outputs]
        if any(size is None for size in sizes):
            return None
        ends = np.cumsum([size[axis] for size in sizes if size is not None])[:-1]
        return list(zip(node.outputs, np.split(channels, ends, axis), strict=True))
    if node.op_type == "Slice":
        return _sliced(node, channels)
    picked = constant(argument(node, 1)) if node.op_type == "Gather" else None
    if picked is None:
        return None
    return [(made, channels.take(picked.astype(np.int64), integer(node, "axis", 0)))]


def _is_one_factor(node: ir.Node) -> bool:
    """Whether it is what a rewrite made of a product with one number: depthwise, of one tap."""
    weight = constant(node.inputs[1]) if is_helper(node) else None
    bias = constant(argument(node, 2))
    return (
        weight is not None
        and weight.size == len(weight) == integer(node, "group", 1)
        and bool((weight == weight.reshape(-1)[0]).all())
        and (bias is None or not bias.any())
    )


def _sliced(node: ir.Node, channels: Channels) -> list[tuple[ir.Value, Channels]] | None:
    given = [constant(argument(node, place)) for place in range(1, 5)]
    starts, ends, axes, steps = given
    if starts is None or ends is None:
        return None
    places = range(len(starts)) if axes is None else axes.tolist()
    strides = [1] * len(starts) if steps is None else steps.tolist()
    where = [slice(None)] * channels.ndim
    for axis, start, end, step in zip(places, starts.tolist(), ends.tolist(), strides, strict=True):
        if step < 1:
            return None
        where[axis] = slice(start, end, step)
    return [(output(node), channels[tuple(where)])]


def _of_one(value: ir.Value) -> tuple[int, ...] | None:
    """The shape for one sample; None where more than the batch varies."""
    shape = shape_of(value)
    if shape is None or None in shape[1:]:
        return None
    return tuple(1 if size is None else size for size in shape)
