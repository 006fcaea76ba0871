"""Weights of 4 bits stored as ONNX INT4: half the bytes of int8, the same integers.

Runtimes widen them when they load or run the model. ONNX Runtime on a CPU has no integer kernel
that reads them: a convolution with int4 weights is computed in float.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.errors import ArtefactError
from edgeq.formats.graph_editor import GraphEditor, forget_unused
from edgeq.qdq.nodes import constant_of
from edgeq.qdq.op_traits import LAYERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIRST_OPSET = 21  # of DequantizeLinear on int4
_LEAST, _GREATEST = -8, 7


def store_int4(model: ir.Model) -> None:
    """Store each weight tensor whose integers all fit -8..7 as int4; ``model`` is changed.

    Only those with zero point 0.

    Raises:
        ArtefactError: there are such weights, and the model's operator set is older than int4.
    """
    opset = model.graph.opset_imports.get("", 0)
    narrow = [
        node
        for node in model.graph
        if node.op_type == "DequantizeLinear" and is_weight(node) and _fits(node)
    ]
    if narrow and opset < FIRST_OPSET:
        raise ArtefactError(
            f"ONNX opset {opset} has no int4 weights",
            hint=f"use opset {FIRST_OPSET} or later, or leave the weights in int8",
        )
    editor = GraphEditor(model.graph)
    for node in narrow:
        for index in (0, 2):
            node.replace_input_with(index, _narrowed(editor, node.inputs[index]))
    forget_unused(model.graph)


def is_weight(dequantizer: ir.Node) -> bool:
    """Whether only layers read a dequantised constant, as weights, also behind a Transpose."""
    uses = list(dequantizer.outputs[0].uses())
    return bool(uses) and all(
        (node.op_type in LAYERS and index == 1) or (node.op_type == "Transpose" and is_weight(node))
        for node, index in uses
    )


def _fits(dequantizer: ir.Node) -> bool:
    stored, zero = (int8_content(dequantizer.inputs[index]) for index in (0, 2))
    return (
        stored is not None
        and zero is not None
        and not zero.any()
        and stored.min(initial=0) >= _LEAST
        and stored.max(initial=0) <= _GREATEST
    )


def int8_content(value: ir.Value | None) -> NDArray[np.generic] | None:
    """The content of an int8 initializer."""
    if value is None or value.const_value is None or value.const_value.dtype != ir.DataType.INT8:
        return None
    return constant_of(value)


def _narrowed(editor: GraphEditor, value: ir.Value | None) -> ir.Value:
    """The int4 initializer that stands for an int8 one; made once."""
    name = f"{value.name if value is not None else ''}_int4"
    return editor.constant(name, np.asarray(int8_content(value)), key=value, dtype=ir.DataType.INT4)
