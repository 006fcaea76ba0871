"""Faults in what reads what, and numbers that belong to another place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import helper

if TYPE_CHECKING:
    import onnx
    from tests.support.faults.planting import Layer, Planting

from tests.support.faults.planted import Planted, alone, at
from tests.support.faults.planting import layers_of


def _stored_behind(p: Planting, node: onnx.NodeProto) -> str | None:
    """The tensor, without suffix, that stores what a node computes, alone."""
    behind = node
    while behind.op_type != "QuantizeLinear":
        users = p.readers(behind.output[0])
        if len(users) != 1:
            return None
        behind = users[0]
    return str(behind.input[0])


def _sum_behind(p: Planting, layer: Layer) -> onnx.NodeProto | None:
    nodes = list(p.graph.node)[layer.place :]
    return next((node for node in nodes if node.op_type == "Add"), None)


def _twin(p: Planting, layer: Layer) -> Layer | None:
    """Another layer of the same shapes, behind this one."""
    shape = p.values(layer.weights).shape
    for other in layers_of(p.model):
        same = other.place > layer.place and other.op_type == layer.op_type
        if same and other.weights != layer.weights and p.values(other.weights).shape == shape:
            return other
    return None


def sum_without_shortcut(p: Planting, layer: Layer) -> Planted | None:
    """Both operands of a sum are the same one."""
    node = _sum_behind(p, layer)
    stored = None if node is None else _stored_behind(p, node)
    if node is None or stored is None or node.input[0] == node.input[1]:
        return None
    node.input[1] = node.input[0]
    return Planted(frozenset(("conversion",)), frozenset((stored,)))


def weights_of_another_layer(p: Planting, layer: Layer) -> Planted | None:
    other = _twin(p, layer)
    if other is None or np.array_equal(p.values(layer.weights), p.values(other.weights)):
        return None
    taken = p.values(other.weights)
    p.change(layer.weights, lambda _: taken)
    return at(layer, "conversion")


def bias_of_another_layer(p: Planting, layer: Layer) -> Planted | None:
    other = next(
        (
            each
            for each in layers_of(p.model)
            if each.place > layer.place
            and each.bias
            and layer.bias
            and p.values(each.bias).shape == p.values(layer.bias).shape
        ),
        None,
    )
    if other is None or np.array_equal(p.values(layer.bias), p.values(other.bias)):
        return None
    taken = p.values(other.bias)
    p.change(layer.bias, lambda _: taken)
    return at(layer, "conversion")


def scales_rolled(p: Planting, layer: Layer) -> Planted | None:
    """Each channel has its neighbour's weight scale."""
    scales = p.values(layer.weight_scale)
    if scales.ndim == 0 or scales.size < 2 or not alone(p, layer.weight_scale):
        return None
    if np.allclose(scales, np.roll(scales, 1)):
        return None
    p.change(layer.weight_scale, lambda a: np.roll(a, 1))
    return at(layer, "grid", "layout")


def scale_of_another_tensor(p: Planting, layer: Layer) -> Planted | None:
    """The result is written and read with the scale of what the layer reads."""
    quantizer = p.graph.node[layer.quantizer]
    mine = quantizer.input[1]
    kinds = {node.op_type for node in p.readers(mine)}
    writers = sum(node.op_type == "QuantizeLinear" for node in p.readers(mine))
    its = p.values(p.dequantizer(layer.source).input[1])
    if not kinds <= {"QuantizeLinear", "DequantizeLinear"} or writers != 1:
        return None
    if its.ndim or abs(float(its) / float(p.values(mine)) - 1) < 0.01:
        return None
    p.change(mine, lambda _: its)
    return at(layer, "grid")


def leaky_activation(p: Planting, layer: Layer) -> Planted | None:
    """A Relu that lets a tenth of negative numbers through."""
    if layer.activation < 0 or p.graph.node[layer.activation].op_type != "Relu":
        return None
    quantizer = p.graph.node[layer.quantizer]
    zero = p.values(quantizer.input[2])
    if int(zero) - np.iinfo(zero.dtype).min < 20:
        return None
    node = p.graph.node[layer.activation]
    node.op_type = "LeakyRelu"
    p.set(node, "alpha", 0.1)
    return at(layer, "conversion", "clipping")


def rows_for_columns(p: Planting, layer: Layer) -> Planted | None:
    """The inputs of a classifier in the order of a tensor with channels last."""
    values = p.values(layer.weights)
    transposed = any(a.name == "transB" and a.i for a in p.graph.node[layer.place].attribute)
    width = values.shape[1] if transposed else values.shape[0]
    if layer.op_type not in ("Gemm", "MatMul") or width % 4 or width < 8:
        return None

    def turned(a: np.ndarray) -> np.ndarray:
        rows = a if transposed else a.T
        made = rows.reshape(len(rows), 4, -1).swapaxes(1, 2).reshape(len(rows), -1)
        return made if transposed else made.T

    p.change(layer.weights, turned)
    return at(layer, "layout", "conversion")


def inputs_in_reverse(p: Planting, layer: Layer) -> Planted | None:
    """BGR for RGB, of whatever channels."""
    values = p.values(layer.weights)
    if layer.op_type != "Conv" or values.shape[1] < 3:
        return None
    p.change(layer.weights, lambda a: a[:, ::-1])
    return at(layer, "layout", "conversion")


def an_input_less(p: Planting, layer: Layer) -> Planted | None:
    """The weights of one input channel are zero."""
    values = p.values(layer.weights)
    if layer.op_type != "Conv" or values.shape[1] < 3 or not values[:, 1].any():
        return None

    def change(a: np.ndarray) -> np.ndarray:
        a[:, 1] = 0
        return a

    p.change(layer.weights, change)
    return at(layer, "conversion")


def a_channel_twice(p: Planting, layer: Layer) -> Planted | None:
    values = p.values(layer.weights)
    if layer.op_type != "Conv" or len(values) < 4 or np.array_equal(values[2], values[3]):
        return None

    def change(a: np.ndarray) -> np.ndarray:
        a[3] = a[2]
        return a

    p.change(layer.weights, change)
    return at(layer, "conversion", "layout", channels=(3,))


def doubled_input(p: Planting, layer: Layer) -> Planted | None:
    """What a layer reads is added to itself first."""
    name = p.graph.node[layer.place].input[0]
    node = helper.make_node("Add", [name, name], [f"{name}_twice"], name=f"{layer.node}/planted")
    p.insert(layer.place, node)
    p.graph.node[layer.place + 1].input[0] = f"{name}_twice"
    return at(layer, "conversion")


def signed_for_unsigned(p: Planting, layer: Layer) -> Planted | None:
    """The layer's input is read with a zero point that is 128 too large or too small."""
    node = p.dequantizer(layer.source)
    if len(node.input) < 3 or len(p.readers(layer.source)) != 1:
        return None
    zero = p.values(node.input[2])
    if zero.ndim or zero.dtype.itemsize != 1:
        return None
    info = np.iinfo(zero.dtype)
    moved = int(zero) + (128 if int(zero) + 128 <= info.max else -128)
    p.own(node, 2, lambda a: np.asarray(moved).astype(a.dtype))
    stored = layer.source.removesuffix("_dequantized")
    return Planted(frozenset(("grid",)), frozenset((layer.result, layer.source, stored)))
