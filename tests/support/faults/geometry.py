"""Faults in where operators read: pads, strides, axes, the order of inputs and of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import helper

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx
    from tests.support.faults.planted import Plant
    from tests.support.faults.planting import Layer, Planting

from tests.support.faults.places import nodes_behind, runs, shapes_of, told_of
from tests.support.faults.planted import Planted, at


def _ints(node: onnx.NodeProto, name: str) -> list[int]:
    return next((list(each.ints) for each in node.attribute if each.name == name), [])


def _text(node: onnx.NodeProto, name: str, default: str) -> str:
    return next((each.s.decode() for each in node.attribute if each.name == name), default)


# ---- convolutions and pools ------------------------------------------------------------------


def stride_phase(p: Planting, layer: Layer) -> Planted | None:
    """Strides begin one place later: pads in front for pads behind, as TensorFlow's SAME has."""
    node = p.graph.node[layer.place]
    pads, strides = _ints(node, "pads"), _ints(node, "strides")
    if strides != [2, 2] or len(pads) != 4:
        return None
    if len(set(pads)) == 1 and pads[0]:
        p.set(node, "pads", [0, 0, pads[0], pads[0]])
    elif pads[:2] == [0, 0] and pads[2:] != [0, 0]:
        p.set(node, "pads", [*pads[2:], 0, 0])
    else:
        return None
    return at(layer, "padding") if runs(p) else None


def on_pool(how: Callable[[Planting, onnx.NodeProto], bool], *causes: str, types: str) -> Plant:
    """The nearest pool behind the layer that can be changed so."""

    def plant(p: Planting, layer: Layer) -> Planted | None:
        for node in nodes_behind(p, layer, *types.split()):
            if how(p, node):
                return told_of(p, node, *causes) if runs(p) else None
        return None

    return plant


def pad_counted(p: Planting, node: onnx.NodeProto) -> bool:
    """An average takes the places beyond the border for zeros, or no longer does."""
    counted = any(each.name == "count_include_pad" and each.i for each in node.attribute)
    if not any(_ints(node, "pads")):
        return False
    p.set(node, "count_include_pad", int(not counted))
    return True


def ceiled(p: Planting, node: onnx.NodeProto) -> bool:
    """The last window of a pool, that lies partly beyond the border, counts."""
    before = shapes_of(p)[node.output[0]]
    ceil = next((each.i for each in node.attribute if each.name == "ceil_mode"), 0)
    p.set(node, "ceil_mode", 1 - ceil)
    return shapes_of(p)[node.output[0]] != before


def pool_moved(p: Planting, node: onnx.NodeProto) -> bool:
    """The windows of a pool begin elsewhere."""
    pads = _ints(node, "pads")
    if len(pads) != 4 or not any(pads):
        return False
    p.set(node, "pads", [0, 0, 2 * pads[2], 2 * pads[3]])
    return True


# ---- axes and the order of memory ------------------------------------------------------------


def softmax_axis(p: Planting, layer: Layer) -> Planted | None:
    for node in nodes_behind(p, layer, "Softmax"):
        rank = len(shapes_of(p)[node.output[0]])
        axis = next((each.i for each in node.attribute if each.name == "axis"), -1) % rank
        p.set(node, "axis", (axis - 1) % rank)
        return told_of(p, node, "layout", "conversion")
    return None


def joined_the_other_way(p: Planting, layer: Layer) -> Planted | None:
    """The first two inputs of a Concat change places."""
    for node in nodes_behind(p, layer, "Concat"):
        shapes = shapes_of(p)
        if node.input[0] != node.input[1] and shapes[node.input[0]] == shapes[node.input[1]]:
            node.input[0], node.input[1] = node.input[1], node.input[0]
            return told_of(p, node, "conversion", "layout")
    return None


def the_other_way(op_type: str) -> Plant:
    """The two inputs of an operator change places."""

    def plant(p: Planting, layer: Layer) -> Planted | None:
        for node in nodes_behind(p, layer, op_type):
            if node.input[0] != node.input[1]:
                node.input[0], node.input[1] = node.input[1], node.input[0]
                return told_of(p, node, "conversion", "layout")
        return None

    return plant


def without_transposition(p: Planting, layer: Layer) -> Planted | None:
    """A tensor with channels last is taken as it lies for one with channels first."""
    for node in nodes_behind(p, layer, "Transpose"):
        shape, wanted = (shapes_of(p)[name] for name in (node.input[0], node.output[0]))
        if shape == wanted or sorted(shape) == shape == wanted[::-1]:
            continue
        told = told_of(p, node, "layout", "conversion")
        sizes = p.constant(f"{node.output[0]}_sizes", np.array(wanted, np.int64))
        made = helper.make_node(
            "Reshape", [node.input[0], sizes], list(node.output), name=node.name
        )
        node.CopyFrom(made)
        return told
    return None


def rows_and_columns_exchanged(p: Planting, layer: Layer) -> Planted | None:
    """The layer reads an image whose rows are columns."""
    shape = shapes_of(p)[layer.source]
    if layer.op_type != "Conv" or len(shape) != 4 or shape[2] != shape[3] or shape[2] < 2:
        return None
    name = f"{layer.source}_turned"
    turned = helper.make_node(
        "Transpose", [layer.source], [name], name=f"{layer.node}/planted", perm=[0, 1, 3, 2]
    )
    p.insert(layer.place, turned)
    p.graph.node[layer.place + 1].input[0] = name
    return at(layer, "layout", "conversion")


def blocks_in_the_other_mode(p: Planting, layer: Layer) -> Planted | None:
    """DepthToSpace takes channels in the other order."""
    for node in nodes_behind(p, layer, "DepthToSpace"):
        if shapes_of(p)[node.input[0]][1] > 4:
            mode = _text(node, "mode", "DCR")
            p.set(node, "mode", "CRD" if mode == "DCR" else "DCR")
            return told_of(p, node, "layout", "conversion")
    return None


def column_order(a: np.ndarray) -> np.ndarray:
    """Memory that was written column by column, read row by row."""
    return np.ascontiguousarray(a.T).reshape(a.shape)


# ---- images that are enlarged ----------------------------------------------------------------


def on_resize(name: str, *values: str) -> Plant:
    """A Resize with another setting: the first of some that is another one."""

    def plant(p: Planting, layer: Layer) -> Planted | None:
        for node in nodes_behind(p, layer, "Resize"):
            default = "half_pixel" if name == "coordinate_transformation_mode" else "nearest"
            before = _text(node, name, default)
            p.set(node, name, next(value for value in values if value != before))
            return told_of(p, node, "conversion", "padding")
        return None

    return plant
