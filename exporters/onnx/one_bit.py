"""Weights of -1 and +1 stored as one bit: an eighth of the bytes of int8, the same integers.

ONNX has no type of one bit, so a table unpacks them: :mod:`edgeq.qdq.normal_form.one_bit`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.exporters.onnx.int4 import int8_content, is_weight
from edgeq.formats.graph_editor import GraphEditor, forget_unused
from edgeq.qdq.normal_form.one_bit import BITS, TABLE, packed

if TYPE_CHECKING:
    from numpy.typing import NDArray


def store_one_bit(model: ir.Model) -> None:
    """Store each weight tensor of -1 and +1 with zero point 0 as bits; ``model`` is changed."""
    editor = GraphEditor(model.graph)
    made: dict[ir.Value, ir.Value] = {}
    for node in list(model.graph):
        weights = _signs(node)
        if weights is None:
            continue
        value = node.inputs[0]
        assert value is not None  # noqa: S101  # it has weights
        if value not in made:
            made[value] = _unpacking(editor, node, value.name or "weight", weights)
        node.replace_input_with(0, made[value])
    forget_unused(model.graph)
    for old, new in made.items():
        if old.name not in model.graph.initializers:
            new.name = old.name  # which any reader knows these weights by


def _signs(node: ir.Node) -> NDArray[np.int8] | None:
    """The weights that a DequantizeLinear reads, if all are -1 or +1."""
    if node.op_type != "DequantizeLinear" or not is_weight(node):
        return None
    stored, zero = (int8_content(node.inputs[index]) for index in (0, 2))
    if stored is None or zero is None or zero.any() or not (np.abs(stored) == 1).all():
        return None
    return stored.astype(np.int8) if stored.size else None


def _unpacking(
    editor: GraphEditor, reader: ir.Node, name: str, weights: NDArray[np.int8]
) -> ir.Value:
    """Put the nodes that unpack weights in front of their reader; gives what they make."""

    def put(op_type: str, inputs: list[ir.Value], kind: ir.DataType, *given: ir.Attr) -> ir.Value:
        node = editor.node(op_type, inputs, f"{name}_{op_type}", given)
        editor.graph.insert_before(reader, node)
        node.outputs[0].type = ir.TensorType(kind)
        return node.outputs[0]

    def whole(*numbers: int) -> ir.Value:
        """Bounds and shapes are the same for many tensors."""
        wanted = "_".join(["dims", *map(str, numbers)])
        return editor.constant(wanted, np.array(numbers, np.int64), key=("dims", numbers))

    int8 = ir.DataType.INT8
    data = editor.constant(f"{name}_bits", packed(weights))
    to = ir.AttrInt64("to", ir.DataType.INT32.value)
    rows = put("Cast", [data], ir.DataType.INT32, to)
    table = editor.constant("weights_of_a_byte", TABLE, key="weights_of_a_byte")
    value = put("Gather", [table, rows], int8)
    if weights.size % BITS:
        value = put("Reshape", [value, whole(-1)], int8)
        value = put("Slice", [value, whole(0), whole(weights.size), whole(0)], int8)
    value = put("Reshape", [value, whole(*weights.shape)], int8)
    value.shape = ir.Shape(weights.shape)
    return value
