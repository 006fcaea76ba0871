"""Weights of 2 bits, which opset 25 can store and ONNX Runtime cannot load once it optimises.

The same integers in a byte each.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeq.formats.graph_editor import GraphEditor
from edgeq.qdq.nodes import constant_of

_WIDE = {ir.DataType.INT2: np.int8, ir.DataType.UINT2: np.uint8}


def widen_two_bits(model: ir.Model) -> None:
    """Widen constants of 2 bits and their zero points to 8 bits; ``model`` is changed."""
    made: dict[ir.Value, ir.Value] = {}
    editor = GraphEditor(model.graph)
    for node in list(model.graph):
        if node.op_type != "DequantizeLinear":
            continue
        for position in (0, 2):
            value = node.inputs[position] if len(node.inputs) > position else None
            if (
                value is not None
                and value.const_value is not None
                and value.const_value.dtype in _WIDE
            ):
                if value not in made:
                    made[value] = _widened(editor, value)
                node.replace_input_with(position, made[value])
    for value in made:
        if not value.uses() and value.name is not None and value.name in model.graph.initializers:
            del model.graph.initializers[value.name]


def _widened(editor: GraphEditor, value: ir.Value) -> ir.Value:
    numbers, tensor = constant_of(value), value.const_value
    assert numbers is not None and tensor is not None  # noqa: S101, PT018  # the caller saw to it
    return editor.constant(f"{value.name}_8_bits", numbers.astype(_WIDE[tensor.dtype]))
