"""Folds what follows a layer channel by channel into its weights and bias: BatchNormalization, constant factors, constant shifts.

An integer runtime has one multiplier for each output channel, and all of these are part of it. A difference ``x - F(u)``
becomes the sum ``x + (-F)(u)``, since integer runtimes add. Computed in float64, stored in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration._nodes import constant, floats, integer, name_of, output, private_layer, rank, real, refuse, required
from edgeq.calibration.layers import own_constants, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnx_ir as ir
    from numpy.typing import NDArray

    Affine = tuple[NDArray[np.float64], NDArray[np.float64]]


def fold(model: ir.Model) -> None:
    """Fold in place; layers are Conv and Gemm as :func:`edgeq.calibration.layers.canonical_layers` leaves them.

    Raises:
        ArtefactError: a BatchNormalization is in training mode or its parameters are not constant, or a folded weight is not finite.
    """
    for node in tuple(model.graph):
        if node.domain == "" and node.op_type in _AFFINE:
            _fold_into_layer(model.graph, node)
    for node in tuple(model.graph):
        if node.domain == "" and node.op_type == "Sub":
            _add_the_negative(model.graph, node)


def _fold_into_layer(graph: ir.Graph, node: ir.Node) -> None:
    source = next((value for value in node.inputs if value is not None and constant(value) is None), None)
    layer = private_layer(source)
    if layer is None or source is None:
        return
    affine = _AFFINE[node.op_type](node, len(required(layer, 1, "weight")), node.inputs.index(source))
    if affine is None:
        return
    _scale_and_shift(layer, *affine)
    _take_over(graph, layer, node)


def _scale_and_shift(layer: ir.Node, scale: NDArray[np.float64], shift: NDArray[np.float64]) -> None:
    """Make ``y`` of a layer ``scale * y + shift``, both (out,)."""
    weight, bias = required(layer, 1, "weight"), floats(layer, 2)
    with np.errstate(over="ignore", invalid="ignore"):  # own_constants refuses what is not finite
        folded = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
        moved = shift if bias is None else bias * scale + shift
    own_constants(layer, folded, None if bias is None and not moved.any() else moved)


def _take_over(graph: ir.Graph, layer: ir.Node, node: ir.Node) -> None:
    """The layer makes what the folded node made, under its name."""
    was, now = output(node), output(layer)
    was.replace_all_uses_with(now, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    now.name, now.shape = was.name, was.shape


def _batch_norm(node: ir.Node, channels: int, _: int) -> Affine:
    if integer(node, "training_mode", 0):
        raise refuse(node, "is in training mode", "export the model in evaluation mode")
    gamma, beta, mean, variance = (required(node, index, "parameter") for index in (1, 2, 3, 4))
    with np.errstate(divide="ignore", invalid="ignore"):  # a negative variance makes weights that are refused
        scale = np.broadcast_to(gamma / np.sqrt(variance + real(node, "epsilon", 1e-5)), channels)
    return scale, beta - mean * scale


def _times(node: ir.Node, channels: int, index: int) -> Affine | None:
    factor = _per_channel(node, channels, 1 - index)
    return None if factor is None else (factor, np.zeros(channels))


def _divided(node: ir.Node, channels: int, index: int) -> Affine | None:
    divisor = _per_channel(node, channels, 1) if index == 0 else None
    if divisor is None:
        return None
    if not divisor.all():
        raise refuse(node, "divides by zero", "mend the constant in the model")
    return 1.0 / divisor, np.zeros(channels)


def _plus(node: ir.Node, channels: int, index: int) -> Affine | None:
    shift = _per_channel(node, channels, 1 - index)
    return None if shift is None else (np.ones(channels), shift)


def _minus(node: ir.Node, channels: int, index: int) -> Affine | None:
    shift = _per_channel(node, channels, 1 - index)
    if shift is None:
        return None
    return (np.ones(channels), -shift) if index == 0 else (-np.ones(channels), shift)


def _negated(_: ir.Node, channels: int, __: int) -> Affine:
    return -np.ones(channels), np.zeros(channels)


def _per_channel(node: ir.Node, channels: int, index: int) -> NDArray[np.float64] | None:
    """A constant operand as (channels,), None where it is none or differs along another axis than the channels."""
    value = floats(node, index)
    dimensions = rank(output(node)) or rank(node.inputs[1 - index])
    if value is None or (value.size > 1 and dimensions is None):
        return None
    if value.size == 1:
        return np.full(channels, value.item())
    wanted = [1, channels, *[1] * ((dimensions or 0) - 2)]
    shape = [1] * (len(wanted) - value.ndim) + list(value.shape)
    return value.reshape(-1) if shape == wanted else None


_AFFINE: Mapping[str, Callable[[ir.Node, int, int], Affine | None]] = {
    "BatchNormalization": _batch_norm,
    "Mul": _times,
    "Div": _divided,
    "Add": _plus,
    "Sub": _minus,
    "Neg": _negated,
}


def _add_the_negative(graph: ir.Graph, node: ir.Node) -> None:
    layer = private_layer(node.inputs[1])
    if layer is None:
        return
    channels = len(required(layer, 1, "weight"))
    _scale_and_shift(layer, -np.ones(channels), np.zeros(channels))
    named = name_of(output(node))
    output(replace(graph, node, "Add", list(node.inputs), {})).name = named
