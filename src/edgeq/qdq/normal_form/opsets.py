"""Models of the operator sets 10 to 12 in set 13, the oldest that the reader knows.

Between them ONNX turned attributes into inputs, and a softmax over all axes from one on into a
softmax along one. Nothing that a model computes changes; names stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.errors import ArtefactError
from edgeq.formats.graph_editor import GraphEditor
from edgeq.qdq.nodes import OLDEST_OPSET, OPSETS, constant_of, integer_of
from edgeq.qdq.shapes import Shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

_ATTRIBUTES_LAST = 10  # the last set in which Clip, Pad and Resize have no such inputs
_ONE_AXIS = ("Softmax", "LogSoftmax", "Hardmax")
_AXES = ("Squeeze", "Unsqueeze", "ReduceSum")


def at_least_13(model: ir.Model) -> ir.Model:
    """A copy of a model in operator set 13; the model itself where it is in another than those."""
    before = model.graph.opset_imports.get("", 0)
    if before not in range(OLDEST_OPSET, OPSETS[0]):
        return model
    copy = model.clone()
    shapes, editor = Shapes(model), GraphEditor(copy.graph)
    copy.graph.opset_imports[""] = OPSETS[0]
    originals = {value.name: value for node in model.graph for value in node.outputs}
    for node in tuple(copy.graph):
        if node.domain != "":
            continue
        if before <= _ATTRIBUTES_LAST and node.op_type in _FROM_10:
            _FROM_10[node.op_type](editor, node)
        if node.op_type in _AXES:
            _moved(editor, node, "axes", 1)
        elif node.op_type == "Split":
            _moved(editor, node, "split", 1)
        elif node.op_type == "Dropout":
            node.attributes.pop("ratio", None)
        elif node.op_type in _ONE_AXIS:
            _along_one_axis(editor, node, _shape(shapes, originals.get(node.outputs[0].name)))
    return copy


def _shape(shapes: Shapes, value: ir.Value | None) -> tuple[int, ...] | None:
    try:
        return None if value is None else shapes.of(value)
    except ArtefactError:
        return None


def _moved(editor: GraphEditor, node: ir.Node, name: str, position: int) -> None:
    """Turn a list of whole numbers into an input."""
    attribute = node.attributes.pop(name, None)
    if attribute is not None:
        _give(editor, node, position, name, np.asarray(attribute.as_ints(), np.int64))


def _give(
    editor: GraphEditor, node: ir.Node, position: int, what: str, numbers: NDArray[np.generic]
) -> None:
    node.resize_inputs(max(position + 1, len(node.inputs)))
    constant = editor.constant(f"{node.outputs[0].name}_{what}", numbers)
    node.replace_input_with(position, constant)


def _clip(editor: GraphEditor, node: ir.Node) -> None:
    for position, name in enumerate(("min", "max"), start=1):
        attribute = node.attributes.pop(name, None)
        if attribute is not None:
            _give(editor, node, position, name, np.array(attribute.as_float(), np.float32))


def _pad(editor: GraphEditor, node: ir.Node) -> None:
    _moved(editor, node, "pads", 1)
    attribute = node.attributes.pop("value", None)
    if attribute is not None:
        _give(editor, node, 2, "value", np.array(attribute.as_float(), np.float32))


def _resize(_: GraphEditor, node: ir.Node) -> None:
    """A Resize that sampled as Upsample had."""
    scales = node.inputs[1]
    node.resize_inputs(3)
    node.replace_input_with(1, None)
    node.replace_input_with(2, scales)
    numbers = constant_of(scales)
    shrinks = numbers is not None and bool((np.asarray(numbers, np.float32) < 1).any())
    for name, text in (
        ("coordinate_transformation_mode", "asymmetric"),
        ("nearest_mode", "ceil" if shrinks else "floor"),
    ):
        node.attributes[name] = ir.AttrString(name, text)


def _scatter(_: GraphEditor, node: ir.Node) -> None:
    node.op_type = "ScatterElements"


_FROM_10: Mapping[str, Callable[[GraphEditor, ir.Node], None]] = {
    "Clip": _clip,
    "Pad": _pad,
    "Resize": _resize,
    "Scatter": _scatter,
}


def _along_one_axis(editor: GraphEditor, node: ir.Node, shape: tuple[int, ...] | None) -> None:
    """A softmax over all axes from its own on, which are one axis where the others have one place.

    Args:
        editor: of the graph.
        node: the softmax.
        shape: of its result; None where it is not known.
    """
    axis = integer_of(node, "axis", 1)
    node.attributes["axis"] = ir.AttrInt64("axis", -1)
    if shape is not None:
        axis %= max(len(shape), 1)
        long = [place for place in range(axis, len(shape)) if shape[place] != 1]
        if len(long) <= 1:
            node.attributes["axis"] = ir.AttrInt64("axis", long[0] if long else axis)
            return
    source, result = node.inputs[0], node.outputs[0]
    name, dtype = result.name or "softmax", result.type
    flat = editor.node("Flatten", [source], f"{name}_flattened", [ir.AttrInt64("axis", axis)])
    whole = editor.node("Shape", [source], f"{name}_shape")
    again = editor.node("Reshape", [result, whole.outputs[0]], name)
    if node.graph is None:
        return
    node.graph.insert_before(node, [flat, whole])
    node.graph.insert_after(node, again)
    last = again.outputs[0]
    result.replace_all_uses_with(last, replace_graph_outputs=True)
    again.replace_input_with(0, result)
    node.replace_input_with(0, flat.outputs[0])
    result.name, last.name = last.name, name
    last.type, last.shape, result.shape = dtype, result.shape, None
