"""Faults in grids of activations, and in operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import helper

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.faults.planted import Plant
    from tests.support.faults.planting import Layer, Planting

from tests.support.faults.planted import Planted, at

# ---- grids of activations --------------------------------------------------------------------


def _shared(p: Planting, layer: Layer) -> str | None:
    """The name of the result's scale, where its quantiser and dequantisers alone read it."""
    quantizer = p.graph.node[layer.quantizer]
    readers = p.readers(quantizer.input[1])
    kinds = {node.op_type for node in readers}
    writers = sum(node.op_type == "QuantizeLinear" for node in readers)
    return (
        quantizer.input[1]
        if kinds <= {"QuantizeLinear", "DequantizeLinear"} and (writers == 1)
        else None
    )


def activation_scale(factor: float) -> Plant:
    def plant(p: Planting, layer: Layer) -> Planted | None:
        scale = _shared(p, layer)
        if scale is None:
            return None
        p.change(scale, lambda a: a * np.float32(factor))
        return at(layer, "grid")

    return plant


def activation_zero(steps: int) -> Plant:
    def plant(p: Planting, layer: Layer) -> Planted | None:
        quantizer = p.graph.node[layer.quantizer]
        if _shared(p, layer) is None or len(quantizer.input) < 3:
            return None
        zero = quantizer.input[2]
        if sum(node.op_type == "QuantizeLinear" for node in p.readers(zero)) != 1:
            return None
        p.change(zero, lambda a: a.astype(np.int64) + steps)
        return at(layer, "grid")

    return plant


def _read(p: Planting, layer: Layer) -> list[str]:
    """The results of the operators behind the dequantisers that were changed."""
    import onnx_ir as ir

    from edgeq.qdq.reader import read_qdq

    wanted = p.graph.node[layer.quantizer].input[0]
    graph = read_qdq(ir.from_proto(p.model), float_fallback=True)
    return [
        op.output.name
        for op in graph.ops
        if any(getattr(each, "name", "") == wanted for each in op.inputs)
    ]


def read_otherwise(position: int, how: Callable[[np.ndarray], np.ndarray]) -> Plant:
    """The dequantiser has another scale or zero point than the quantiser."""

    def plant(p: Planting, layer: Layer) -> Planted | None:
        readers = _read(p, layer)
        quantizer = p.graph.node[layer.quantizer]
        stored = [quantizer.output[0]]
        stored += [node.output[0] for node in p.readers(stored[0]) if node.op_type == "Clip"]
        behind = [
            node
            for name in stored
            for node in p.readers(name)
            if node.op_type == "DequantizeLinear"
        ]
        if not readers or not behind or len(quantizer.input) <= position:
            return None
        for node in behind:
            p.own(node, position, how)
        return Planted(frozenset(("grid",)), frozenset((*readers, layer.result)))

    return plant


def written_otherwise(p: Planting, layer: Layer) -> Planted | None:
    """The quantiser has another scale than the dequantisers."""
    readers = _read(p, layer)
    if not readers:
        return None
    p.own(p.graph.node[layer.quantizer], 1, lambda a: a * np.float32(1.1))
    return Planted(frozenset(("grid",)), frozenset((*readers, layer.result)))


# ---- operators -------------------------------------------------------------------------------


def no_activation(p: Planting, layer: Layer) -> Planted | None:
    if layer.activation < 0:
        return None
    node, quantizer = p.graph.node[layer.activation], p.graph.node[layer.quantizer]
    scale, zero = float(p.values(quantizer.input[1])), p.values(quantizer.input[2])
    kind = np.iinfo(zero.dtype)
    ends = [scale * (end - int(zero)) for end in (kind.min, kind.max)]
    bounds = [0.0, np.inf]
    if node.op_type == "Clip":
        bounds = [float(p.values(name)) for name in node.input[1:3]]
    if bounds[0] <= ends[0] + 3 * scale and bounds[1] >= ends[1] - 3 * scale:
        return None  # the grid ends there anyway
    # the name of the stored tensor stays
    made = p.graph.node[layer.place]
    made.output[0] = node.output[0]
    del p.graph.node[layer.activation]
    return at(layer, "clipping", "conversion")


def another_activation(p: Planting, layer: Layer) -> Planted | None:
    """A bound of values that there was not."""
    quantizer = p.graph.node[layer.quantizer]
    scale, zero = p.values(quantizer.input[1]), p.values(quantizer.input[2])
    most = float(scale) * (np.iinfo(zero.dtype).max - int(zero)) * 0.05
    name = quantizer.input[0]
    p.insert(
        layer.quantizer,
        helper.make_node(
            "Clip",
            [
                name,
                p.constant(f"{name}_low", np.float32(-most)),
                p.constant(f"{name}_high", np.float32(most)),
            ],
            [f"{name}_bounded"],
            name=f"{name}/planted",
        ),
    )
    p.graph.node[layer.quantizer + 1].input[0] = f"{name}_bounded"
    return Planted(
        frozenset(("clipping", "conversion")), frozenset((layer.result, f"{layer.result}_bounded"))
    )


def clipped_integers(p: Planting, layer: Layer) -> Planted | None:
    """The stored range is half of what it was."""
    quantizer = p.graph.node[layer.quantizer]
    kind = p.values(quantizer.input[2]).dtype
    name, info = quantizer.output[0], np.iinfo(kind)
    if any(node.op_type == "Clip" for node in p.readers(name)):
        return None
    middle = (int(info.min) + int(info.max)) // 2
    inner = f"{name}_wide"
    quantizer.output[0] = inner
    p.insert(
        layer.quantizer + 1,
        helper.make_node(
            "Clip",
            [
                inner,
                p.constant(f"{name}_low", kind.type(info.min)),
                p.constant(f"{name}_high", kind.type(middle)),
            ],
            [name],
            name=f"{name}/planted",
        ),
    )
    return at(layer, "clipping", "grid", "conversion")


def other_pads(p: Planting, layer: Layer) -> Planted | None:
    node = p.graph.node[layer.place]
    pads = next((list(each.ints) for each in node.attribute if each.name == "pads"), [])
    if len(pads) != 4 or pads[0] < 1 or len(set(pads)) > 1:
        return None
    width = pads[0]
    p.set(node, "pads", [0, 0, 2 * width, 2 * width])
    return at(layer, "padding")


def other_dilation(p: Planting, layer: Layer) -> Planted | None:
    node = p.graph.node[layer.place]
    values = p.values(layer.weights)
    pads = next((list(each.ints) for each in node.attribute if each.name == "pads"), [])
    if values.shape[2:] != (3, 3) or pads != [1, 1, 1, 1]:
        return None
    p.set(node, "dilations", [2, 2])
    p.set(node, "pads", [2, 2, 2, 2])
    return at(layer, "padding", "conversion")


def quantized_again(p: Planting, layer: Layer) -> Planted | None:
    """A coarse grid more, in front of the layer's quantiser."""
    quantizer = p.graph.node[layer.quantizer]
    name, kind = quantizer.input[0], p.values(quantizer.input[2])
    names = [
        p.constant(f"{name}_coarse", p.values(quantizer.input[1]) * np.float32(16)),
        p.constant(f"{name}_coarse_zero", kind),
    ]
    p.insert(
        layer.quantizer,
        helper.make_node("QuantizeLinear", [name, *names], [f"{name}_again"], name=f"{name}/q"),
        helper.make_node(
            "DequantizeLinear", [f"{name}_again", *names], [f"{name}_real"], name=f"{name}/dq"
        ),
    )
    p.graph.node[layer.quantizer + 2].input[0] = f"{name}_real"
    return Planted(
        frozenset(("conversion", "grid")),
        frozenset((layer.result, f"{name}_real", f"{name}_again")),
    )


def negated_input(p: Planting, layer: Layer) -> Planted | None:
    name = p.graph.node[layer.place].input[0]
    p.insert(
        layer.place, helper.make_node("Neg", [name], [f"{name}_neg"], name=f"{layer.node}/planted")
    )
    p.graph.node[layer.place + 1].input[0] = f"{name}_neg"
    return at(layer, "conversion")


def sums_become_differences(p: Planting, layer: Layer) -> Planted | None:
    """An addition somewhere behind the layer."""
    node = next((n for n in list(p.graph.node)[layer.place :] if n.op_type == "Add"), None)
    if node is None:
        return None
    node.op_type = "Sub"
    behind = node
    while behind.op_type != "QuantizeLinear":
        users = p.readers(behind.output[0])
        if len(users) != 1:
            return None
        behind = users[0]
    return Planted(frozenset(("conversion",)), frozenset((behind.input[0],)))


def averaged_maxima(p: Planting, layer: Layer) -> Planted | None:
    node = next((n for n in list(p.graph.node)[layer.place :] if n.op_type == "MaxPool"), None)
    if node is None:
        return None
    node.op_type = "AveragePool"
    users = p.readers(node.output[0])
    if len(users) != 1 or users[0].op_type != "QuantizeLinear":
        return None
    return Planted(frozenset(("conversion",)), frozenset((users[0].input[0],)))
