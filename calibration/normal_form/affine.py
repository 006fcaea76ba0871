"""Constant factors and shifts that follow no layer.

Folded into the layers behind them, else convolutions of one tap.

``(x - mean) / std`` at the input, a BatchNormalization behind a ReLU. A factor for each input
channel is part of the weights that read it; a shift is part of the bias, unless the layer pads: its
zeros are not shifted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration._nodes import (
    LAYERS,
    channel_axis,
    constant,
    describe,
    floats,
    help_only,
    inherit,
    integer,
    ints,
    name_of,
    only_read_by,
    output,
    required,
    shape_of,
    sole_reader,
)
from edgeq.calibration.normal_form.fold import AFFINE, line_of
from edgeq.calibration.normal_form.layers import add_convolution, own_constants
from edgeq.quant import QuantParams

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.calibration.normal_form.draft import Draft

_ALIKE = 4.0
_WHITE = 255


def transposes_first(draft: Draft) -> None:
    """Bring a Transpose in front of the factors and shifts between an input and it, in place.

    Channels that stand last in the input then stand where layers have them.
    """
    for node in tuple(draft.graph):
        if node.domain != "" or node.op_type != "Transpose":
            continue
        transpose = node
        while (before := _elementwise(transpose.inputs[0])) is not None:
            transpose = _swap(draft, before, transpose)


def _elementwise(value: ir.Value | None) -> ir.Node | None:
    """What computes a tensor of an input and constants alone, if one reader alone reads it."""
    node = value.producer() if value is not None else None
    if node is None or node.domain != "" or node.op_type not in AFFINE or value is None:
        return None
    operands = [each for each in node.inputs if constant(each) is None]
    if node.op_type == "BatchNormalization" or len(operands) != 1 or sole_reader(value) is None:
        return None
    known = shape_of(operands[0]) is not None and shape_of(operands[0]) == shape_of(value)
    source, other = operands[0], _elementwise(operands[0])
    from_input = source is not None and (source.is_graph_input() or other is not None)
    return node if known and from_input else None


def _swap(draft: Draft, node: ir.Node, transpose: ir.Node) -> ir.Node:
    """``transpose(f(x, c))`` as ``f(transpose(x), transpose(c))``; the new Transpose."""
    result = output(transpose)
    order = ints(transpose, "perm", list(reversed(range(len(shape_of(result) or ())))))
    source = next(value for value in node.inputs if constant(value) is None)
    moved = draft.add_node("Transpose", [source], transpose, "in", attributes={"perm": order})
    operands = [
        output(moved)
        if array is None
        else draft.reals(transpose, "constant", _turned(array, order))
        for array in (floats(node, index) for index in range(len(node.inputs)))
    ]
    made = draft.add_node(node.op_type, operands, transpose, "out")
    inherit(made, node)
    draft.take_over(result, output(made))
    for each in (transpose, node):
        draft.graph.remove(each, safe=True)
    return moved


def _turned(array: NDArray[np.float64], order: Sequence[int]) -> NDArray[np.float64]:
    return array.reshape((1,) * (len(order) - array.ndim) + array.shape).transpose(order)


@dataclass(slots=True)
class Preprocessings:
    """What became of the factors and shifts right behind an input.

    Attributes:
        told: a line for each, for people.
        layers: the convolutions of one tap that compute those that no layer could take.
    """

    told: list[str] = field(default_factory=list)
    layers: list[ir.Node] = field(default_factory=list)


def affine_layers(draft: Draft, functions: Container[ir.Node]) -> Preprocessings:
    """Rewrite in place every per-channel ``scale * x + shift`` outside of functions of one tensor.

    Args:
        draft: the graph.
        functions: the nodes of such functions.
    """
    found = Preprocessings()
    for node in tuple(draft.graph):
        if (
            node.graph is draft.graph
            and node.domain == ""
            and node.op_type in AFFINE
            and node not in functions
        ):
            _chain(draft, node, functions, found)
    return found


def _chain(
    draft: Draft, first: ir.Node, functions: Container[ir.Node], found: Preprocessings
) -> None:
    """A chain of such operators, each read by the next only."""
    source = next(
        (value for value in first.inputs if value is not None and constant(value) is None), None
    )
    shape = shape_of(source)
    if (
        source is None
        or shape is None
        or not 2 <= len(shape) <= 4
        or shape[1] is None
        or shape_of(output(first)) != shape
    ):
        return
    channels, nodes = shape[1], [first]
    line = line_of(first, channels, first.inputs.index(source))
    if line is None:
        return
    scale, shift = line
    while (reader := sole_reader(output(nodes[-1]))) is not None and reader not in functions:
        more = line_of(reader, channels, list(reader.inputs).index(output(nodes[-1])))
        if more is None or shape_of(output(reader)) != shape:
            break
        scale, shift = scale * more[0], shift * more[0] + more[1]
        nodes.append(reader)
    last = nodes[-1]
    readers = [user for user, _ in output(last).uses()]
    into = only_read_by(output(last), lambda reader: _takes(reader, last, scale, shift))
    if into:
        for reader in readers:
            _fold_forward(draft, reader, scale, shift)
        output(last).replace_all_uses_with(source)
    elif len(shape) > 2:
        weight = scale.reshape(-1, 1, *[1] * (len(shape) - 2))
        bias = shift if shift.any() else None
        conv = add_convolution(draft, last, source, weight, bias, "scaled", group=channels)
        help_only(conv)
        draft.take_over(output(last), output(conv))
        if _input_of(source):
            found.layers.append(conv)
    elif any(node.op_type == "BatchNormalization" for node in nodes):
        factor = draft.add(
            "Mul", [source, draft.reals(last, "factor", scale[None])], last, "scaled"
        )
        draft.take_over(
            output(last),
            draft.add("Add", [factor, draft.reals(last, "shift", shift[None])], last, "shifted"),
        )
    else:
        return
    if name := _input_of(source):
        steps = " and ".join(map(describe, nodes))
        layers = ", ".join(map(describe, readers)) if into else ""
        found.told.append(
            f"input {name!r} is taken as it is: its {steps} became "
            + (
                f"part of the weights of {layers}"
                if into
                else "a convolution of one tap in integers"
            )
        )
    for node in reversed(nodes):
        draft.graph.remove(node, safe=True)


def _input_of(value: ir.Value | None) -> str:
    """The input that a tensor is, perhaps with its axes in another order; empty for none."""
    while value is not None and (maker := value.producer()) and maker.op_type == "Transpose":
        value = maker.inputs[0]
    return name_of(value) if value is not None and value.is_graph_input() else ""


def on_levels_of_pixels(
    draft: Draft, layers: Sequence[ir.Node], pixels: Container[str]
) -> dict[str, QuantParams]:
    """Let ``scale * x + shift`` of pixels have their levels, so that none is rounded, in place.

    Zero then lies on the level that is nearest to it. What is missing becomes part of the biases
    behind: only the zeros around an image are off, by half a level at most.

    Args:
        draft: the graph.
        layers: see :class:`Preprocessings`.
        pixels: the inputs that are whole numbers of 0 to 255.

    Returns:
        The results that have those levels, with their grid.
    """
    found = {}
    for conv in layers:
        scale, shift = required(conv, 1, "weight").reshape(-1), floats(conv, 2)
        shift = np.zeros_like(scale) if shift is None else shift
        readers = [user for user, _ in output(conv).uses()]
        zero = float(np.rint(-shift[0] / scale[0]))
        if (
            _input_of(conv.inputs[0]) in pixels
            and np.ptp(scale) == np.ptp(shift) == 0
            and scale[0] > 0
            and 0 <= zero <= _WHITE
            and all(_takes(reader, conv, np.ones_like(scale), 0 * shift) for reader in readers)
        ):
            on_level = -scale * zero
            for reader in readers:
                _fold_forward(draft, reader, np.ones_like(scale), shift - on_level)
            own_constants(draft, conv, required(conv, 1, "weight"), on_level)
            found[name_of(output(conv))] = QuantParams.of(float(scale[0]), int(zero), "uint8")
    return found


def _takes(
    reader: ir.Node, last: ir.Node, scale: NDArray[np.float64], shift: NDArray[np.float64]
) -> bool:
    """Whether a reader is a layer that can take factor and shift of its input along."""
    if (
        reader.domain != ""
        or reader.op_type not in LAYERS
        or reader.inputs[0] is not output(last)
        or floats(reader, 1) is None
    ):
        return False
    if len(reader.inputs) > 2 and reader.inputs[2] is not None and floats(reader, 2) is None:
        return False
    if reader.op_type != "Gemm" and not _alike(scale):
        return False
    padless = reader.op_type == "Gemm" or (
        reader.op_type == "Conv" and not any(ints(reader, "pads", []))
    )
    return padless or not shift.any()


def _alike(scale: NDArray[np.float64]) -> bool:
    """Whether factors are near enough for weights times them to share a scale with little loss."""
    sizes = np.abs(scale)
    return bool(sizes.max() <= _ALIKE * sizes.min())


def _fold_forward(
    draft: Draft, layer: ir.Node, scale: NDArray[np.float64], shift: NDArray[np.float64]
) -> None:
    """Make a layer of ``x`` one that computes with ``scale * x + shift``."""
    weight, bias = required(layer, 1, "weight"), floats(layer, 2)
    others = [1] * (weight.ndim - 2)
    if channel_axis(layer) == 1:
        factor, offset = scale.reshape(-1, 1, *others), None
    else:
        group = integer(layer, "group", 1)
        index = np.arange(len(weight))[:, None] // (len(weight) // group) * weight.shape[
            1
        ] + np.arange(weight.shape[1])
        factor, offset = (
            scale[index].reshape(*index.shape, *others),
            shift[index].reshape(*index.shape, *others),
        )
    moved = bias
    if offset is not None and shift.any():
        added = (weight * offset).reshape(len(weight), -1).sum(axis=1)
        moved = added if bias is None else bias + added
    own_constants(draft, layer, weight * factor, moved)
