"""Constant factors and shifts that follow no layer.

Folded into the layers behind them, else convolutions of one tap.

``(x - mean) / std`` at the input, a BatchNormalization behind a ReLU. A factor for each input
channel is part of the weights that read it; a shift is part of the bias, unless the layer pads: its
zeros are not shifted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration._nodes import (
    LAYERS,
    channel_axis,
    constant,
    floats,
    help_only,
    integer,
    ints,
    output,
    required,
    shape_of,
    sole_reader,
)
from edgeq.calibration.normal_form.fold import AFFINE, line_of
from edgeq.calibration.normal_form.layers import add_convolution, own_constants

if TYPE_CHECKING:
    from collections.abc import Container

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.calibration.normal_form.draft import Draft

_ALIKE = 4.0


def affine_layers(draft: Draft, functions: Container[ir.Node]) -> None:
    """Rewrite in place every per-channel ``scale * x + shift`` outside of functions of one tensor.

    Args:
        draft: the graph.
        functions: the nodes of such functions.
    """
    for node in tuple(draft.graph):
        if (
            node.graph is draft.graph
            and node.domain == ""
            and node.op_type in AFFINE
            and node not in functions
        ):
            _chain(draft, node, functions)


def _chain(draft: Draft, first: ir.Node, functions: Container[ir.Node]) -> None:
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
    into = (
        not output(last).is_graph_output()
        and bool(readers)
        and all(_takes(reader, last, scale, shift) for reader in readers)
    )
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
    for node in reversed(nodes):
        draft.graph.remove(node, safe=True)


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
