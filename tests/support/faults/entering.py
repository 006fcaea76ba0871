"""Faults in what enters a network, and in which operator reads what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import helper

if TYPE_CHECKING:
    import onnx
    from tests.support.faults.planted import Plant
    from tests.support.faults.planting import Layer, Planting

from tests.support.faults.places import nodes_behind, shapes_of, stored_behind, told_of
from tests.support.faults.planted import Planted, at


def _entry(p: Planting, layer: Layer) -> int | None:
    """The place of the quantiser of the network's input, where the layer reads just that."""
    name = p.graph.input[0].name
    quantizer = p.quantizer_of(layer.source)
    if quantizer is None or quantizer.input[0] != name:
        return None
    return next(i for i, node in enumerate(p.graph.node) if node is quantizer)


def _entering(p: Planting, place: int, *nodes: onnx.NodeProto) -> Planted:
    """Nodes between the network's input and its quantiser; the last one's result is quantised."""
    name = p.graph.input[0].name
    p.insert(place, *nodes)
    p.graph.node[place + len(nodes)].input[0] = nodes[-1].output[0]
    stored = p.graph.node[place + len(nodes)].output[0]
    names = (name, nodes[-1].output[0], stored.removesuffix("_quantized"))
    return Planted(frozenset(("preprocessing", "conversion", "layout", "grid")), frozenset(names))


def normalized_twice(p: Planting, layer: Layer) -> Planted | None:
    """The mean is taken off in the file, although samples have none any more."""
    place = _entry(p, layer)
    if place is None:
        return None
    name = p.graph.input[0].name
    quantizer = p.graph.node[place]
    amount = p.constant(f"{name}_mean", 20 * p.values(quantizer.input[1]))
    node = helper.make_node("Sub", [name, amount], [f"{name}_centered"], name=f"{name}/planted")
    return _entering(p, place, node)


def divided_twice(p: Planting, layer: Layer) -> Planted | None:
    """Samples are divided in the file, although they were already."""
    place = _entry(p, layer)
    if place is None:
        return None
    name = p.graph.input[0].name
    amount = p.constant(f"{name}_divisor", np.float32(255))
    node = helper.make_node("Div", [name, amount], [f"{name}_divided"], name=f"{name}/planted")
    return _entering(p, place, node)


def channels_entering_in_reverse(p: Planting, layer: Layer) -> Planted | None:
    """BGR for RGB, by an operator in front."""
    place = _entry(p, layer)
    channels = shapes_of(p)[p.graph.input[0].name][1]
    if place is None or channels < 3:
        return None
    name = p.graph.input[0].name
    order = p.constant(f"{name}_order", np.arange(channels)[::-1].astype(np.int64))
    node = helper.make_node(
        "Gather", [name, order], [f"{name}_reversed"], name=f"{name}/planted", axis=1
    )
    return _entering(p, place, node)


def input_scale(factor: float) -> Plant:
    """The grid of the network's input is for samples of another range, as 0 to 255 for 0 to 1."""

    def plant(p: Planting, layer: Layer) -> Planted | None:
        place = _entry(p, layer)
        if place is None:
            return None
        quantizer = p.graph.node[place]
        if any(
            node.op_type not in ("QuantizeLinear", "DequantizeLinear")
            for node in p.readers(quantizer.input[1])
        ):
            return None
        names = (p.graph.input[0].name, quantizer.output[0].removesuffix("_quantized"))
        p.change(quantizer.input[1], lambda a: a * np.float32(factor))
        return Planted(frozenset(("grid", "preprocessing")), frozenset((*names, layer.result)))

    return plant


def another_shortcut(p: Planting, layer: Layer) -> Planted | None:
    """A sum reads an earlier tensor of the same shape in the place of its own."""
    shapes = shapes_of(p)
    for node in nodes_behind(p, layer, "Add"):
        if layer.source in node.input or len(shapes.get(node.input[1], [])) < 2:
            continue
        if shapes.get(layer.source) != shapes.get(node.output[0]):
            continue
        node.input[1] = layer.source
        return told_of(p, node, "conversion")
    return None


def gate_left_out(p: Planting, layer: Layer) -> Planted | None:
    """A product passes its first factor on."""
    for node in nodes_behind(p, layer, "Mul"):
        stored = stored_behind(p, node)
        shapes = shapes_of(p)
        if stored is None or shapes[node.input[0]] != shapes[node.output[0]]:
            continue
        node.op_type = "Add"
        return told_of(p, node, "conversion")
    return None


def another_function(*pairs: tuple[str, str]) -> Plant:
    """A function for a similar one."""
    others = dict(pairs)

    def plant(p: Planting, layer: Layer) -> Planted | None:
        for node in nodes_behind(p, layer, *others):
            node.op_type = others[node.op_type]
            del node.attribute[:]
            return told_of(p, node, "conversion", "clipping")
        return None

    return plant


def slice_moved(p: Planting, layer: Layer) -> Planted | None:
    """A Slice begins one place earlier, and ends there."""
    for node in nodes_behind(p, layer, "Slice"):
        starts, ends = (p.values(name) for name in node.input[1:3])
        if starts.size != 1 or starts[0] < 1 or ends[0] < 0:
            continue
        size = shapes_of(p)[node.input[0]][int(p.values(node.input[3])[0])]
        begin = int(starts[0]) - 1
        node.input[1] = p.constant(f"{node.output[0]}_begin", np.array([begin], np.int64))
        end = min(int(ends[0]), size) - 1
        node.input[2] = p.constant(f"{node.output[0]}_end", np.array([end], np.int64))
        return told_of(p, node, "conversion", "layout")
    return None


def activation_before_the_sum(p: Planting, layer: Layer) -> Planted | None:
    """The Relu behind a sum cuts off the first operand, not the sum."""
    signed = {
        each.output[0]
        for each in p.graph.node
        if each.op_type == "DequantizeLinear"
        and len(each.input) > 2
        and p.values(each.input[2]).ndim == 0
        and int(p.values(each.input[2])) - np.iinfo(p.values(each.input[2]).dtype).min > 20
    }
    for node in nodes_behind(p, layer, "Add"):
        users = p.readers(node.output[0])
        if len(users) != 1 or users[0].op_type != "Relu":
            continue
        told = told_of(p, node, "clipping", "conversion")
        if node.input[0] not in signed:
            continue
        relu, entry = users[0], node.input[0]
        node.output[0] = relu.output[0]
        inner = f"{entry}_cut"
        place = next(i for i, each in enumerate(p.graph.node) if each is node)
        p.graph.node.remove(relu)
        node.input[0] = inner
        p.insert(place, helper.make_node("Relu", [entry], [inner], name=f"{inner}/planted"))
        return told
    return None


def padded_with_another_value(p: Planting, layer: Layer) -> Planted | None:
    """The border holds the integer 0, which is no real zero."""
    node = p.graph.node[layer.place]
    reader = p.dequantizer(layer.source)
    pads = next((list(each.ints) for each in node.attribute if each.name == "pads"), [])
    if len(pads) != 4 or not any(pads) or len(reader.input) < 3:
        return None
    scale, zero = p.values(reader.input[1]), p.values(reader.input[2])
    if scale.ndim or int(zero) < 8:
        return None
    name = f"{layer.source}_padded"
    around = [0, 0, *pads[:2], 0, 0, *pads[2:]]
    value = np.float32(-float(scale) * int(zero))
    names = [
        p.constant(f"{name}_pads", np.array(around, np.int64)),
        p.constant(f"{name}_value", value),
    ]
    p.set(node, "pads", [0, 0, 0, 0])
    made = helper.make_node("Pad", [layer.source, *names], [name], name=f"{layer.node}/planted")
    p.insert(layer.place, made)
    p.graph.node[layer.place + 1].input[0] = name
    return at(layer, "padding", "conversion")
