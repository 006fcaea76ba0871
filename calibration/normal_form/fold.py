"""Folds BatchNormalization and constant factors and shifts into the layer before them.

An integer runtime has one multiplier for each output channel, and all of these are part of it. A
difference ``x - F(u)`` becomes the sum ``x + (-F)(u)``, since integer runtimes add. Computed in
float64, stored in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration._nodes import (
    channel_axis,
    constant,
    floats,
    integer,
    name_of,
    norm_of,
    output,
    private_layer,
    rank,
    real,
    refuse,
    required,
    set_norm,
)
from edgeq.calibration.normal_form.layers import own_constants, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.calibration.normal_form.draft import Draft

    Affine = tuple[NDArray[np.float64], NDArray[np.float64]]


def fold(draft: Draft) -> None:
    """Fold in place, after :func:`edgeq.calibration.normal_form.layers.canonical_layers`.

    Raises:
        ArtefactError: a BatchNormalization is in training mode, or a folded weight is not finite.
    """
    for node in tuple(draft.graph):
        if node.domain == "" and node.op_type in AFFINE:
            _fold_into_layer(draft, node)
    for node in tuple(draft.graph):
        if node.domain == "" and node.op_type == "Sub":
            _add_the_negative(draft, node)


def _fold_into_layer(draft: Draft, node: ir.Node) -> None:
    source = next(
        (value for value in node.inputs if value is not None and constant(value) is None), None
    )
    layer = private_layer(source)
    if layer is None or source is None:
        return
    affine = line_of(node, channels_of(layer), node.inputs.index(source))
    if affine is None:
        return
    scale_and_shift(draft, layer, *affine)
    if node.op_type == "BatchNormalization":
        gamma, beta = (required(node, place, "parameter") for place in (1, 2))
        set_norm(layer, beta, np.abs(gamma))
    _take_over(draft.graph, layer, node)


def channels_of(layer: ir.Node) -> int:
    """How many output channels a layer has."""
    return int(required(layer, 1, "weight").shape[channel_axis(layer)])


def scale_and_shift(
    draft: Draft, layer: ir.Node, scale: NDArray[np.float64], shift: NDArray[np.float64]
) -> None:
    """Make ``y`` of a layer ``scale * y + shift``, both (out,)."""
    weight, bias, axis = required(layer, 1, "weight"), floats(layer, 2), channel_axis(layer)
    with np.errstate(over="ignore", invalid="ignore"):  # own_constants refuses what is not finite
        folded = weight * scale.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
        moved = shift if bias is None else bias * scale + shift
    own_constants(draft, layer, folded, None if bias is None and not moved.any() else moved)
    norm = norm_of(layer)
    if norm is not None:
        set_norm(layer, norm[0] * scale + shift, norm[1] * np.abs(scale))


def _take_over(graph: ir.Graph, layer: ir.Node, node: ir.Node) -> None:
    """The layer makes what the folded node made, under its name."""
    was, now = output(node), output(layer)
    was.replace_all_uses_with(now, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    now.name, now.shape = was.name, was.shape


def line_of(node: ir.Node, channels: int, index: int, axis: int = 1) -> Affine | None:
    """What an operator is as ``scale * x + shift``, both (channels,); None where it is not that.

    Args:
        node: the operator.
        channels: the size of the activation along ``axis``.
        index: the place of the activation among its inputs.
        axis: along which scale and shift differ.
    """
    line = AFFINE.get(node.op_type) if node.domain == "" else None
    return None if line is None else line(node, channels, index, axis)


def _batch_norm(node: ir.Node, channels: int, index: int, axis: int) -> Affine | None:
    if integer(node, "training_mode", 0):
        raise refuse(node, "is in training mode", "export the model in evaluation mode")
    parameters = [floats(node, place) for place in (1, 2, 3, 4)]
    if index != 0 or axis != 1 or any(parameter is None for parameter in parameters):
        return None
    gamma, beta, mean, variance = (required(node, place, "parameter") for place in (1, 2, 3, 4))
    # a negative variance makes weights that are refused
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.broadcast_to(gamma / np.sqrt(variance + real(node, "epsilon", 1e-5)), channels)
    return scale, np.broadcast_to(beta - mean * scale, channels)


def _times(node: ir.Node, channels: int, index: int, axis: int) -> Affine | None:
    factor = _per_channel(node, channels, 1 - index, axis)
    return None if factor is None else (factor, np.zeros(channels))


def _divided(node: ir.Node, channels: int, index: int, axis: int) -> Affine | None:
    divisor = _per_channel(node, channels, 1, axis) if index == 0 else None
    if divisor is None:
        return None
    if not divisor.all():
        raise refuse(node, "divides by zero", "fix the constant in the model")
    return 1.0 / divisor, np.zeros(channels)


def _plus(node: ir.Node, channels: int, index: int, axis: int) -> Affine | None:
    shift = _per_channel(node, channels, 1 - index, axis)
    return None if shift is None else (np.ones(channels), shift)


def _minus(node: ir.Node, channels: int, index: int, axis: int) -> Affine | None:
    shift = _per_channel(node, channels, 1 - index, axis)
    if shift is None:
        return None
    return (np.ones(channels), -shift) if index == 0 else (-np.ones(channels), shift)


def _negated(_: ir.Node, channels: int, __: int, ___: int) -> Affine:
    return -np.ones(channels), np.zeros(channels)


def _per_channel(node: ir.Node, channels: int, index: int, axis: int) -> NDArray[np.float64] | None:
    """A constant operand as (channels,).

    None where it is computed, differs along another axis, or broadcasts the other operand.
    """
    value, dimensions = floats(node, index), rank(node.inputs[1 - index])
    if value is None or dimensions is None or value.ndim > dimensions or dimensions <= axis:
        return None
    if value.size == 1:
        return np.full(channels, value.item())
    wanted = [channels if i == axis else 1 for i in range(dimensions)]
    shape = [1] * (dimensions - value.ndim) + list(value.shape)
    return value.reshape(-1) if shape == wanted else None


AFFINE: Mapping[str, Callable[[ir.Node, int, int, int], Affine | None]] = {
    "BatchNormalization": _batch_norm,
    "Mul": _times,
    "Div": _divided,
    "Add": _plus,
    "Sub": _minus,
    "Neg": _negated,
}
"""The operators that can be ``scale * x + shift`` with constants; see :func:`line_of`."""


def _add_the_negative(draft: Draft, node: ir.Node) -> None:
    layer = private_layer(node.inputs[1])
    if layer is None or constant(node.inputs[0]) is not None:
        return
    channels = channels_of(layer)
    scale_and_shift(draft, layer, -np.ones(channels), np.zeros(channels))
    # another name: whoever compares tensors by name must not hold it against its opposite
    output(layer).name = draft.values.fresh(f"{name_of(output(layer))}_negative")
    named = name_of(output(node))
    output(replace(draft, node, "Add", list(node.inputs), {})).name = named
