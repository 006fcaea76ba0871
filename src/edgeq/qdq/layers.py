"""The layers of a QDQ model one by one, for a model whose graph cannot be read as a whole.

What a layer reads is known from the dequantiser in front of it, whatever the rest of the graph is.
Less is known than :func:`edgeq.qdq.reader.read_qdq` finds: the range of an input is that of its
type, and nothing has a shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.qdq.attributes import attributes_of
from edgeq.qdq.ir import QdqConstant, QdqGraph, QdqOp, QdqTensor
from edgeq.qdq.nodes import constant_of, grid_of, stripped, title
from edgeq.qdq.op_traits import LAYERS, traits_of
from edgeq.quant import QuantParams

if TYPE_CHECKING:
    import onnx_ir as ir

DYNAMIC_PRODUCTS = {"MatMulInteger": 3, "MatMulIntegerToFloat": 5, "DynamicQuantizeMatMul": 3}
"""Products whose input is quantised as they run, and where they hold their weights' zero point."""


def layers_of(model: ir.Model) -> QdqGraph:
    """The layers that can be read by themselves, in the order of the file.

    Neither what is between them nor inputs and outputs.
    """
    found = (dynamic_layer(node) or layer_of(node) for node in model.graph)
    return QdqGraph(
        tuple(op for op in found if op is not None), (), (), dynamic_batch=False, metadata={}
    )


def layer_of(node: ir.Node) -> QdqOp | None:
    """A node as a layer of stored weights that reads a quantised tensor; None where it is none.

    The output of the operator is its input's tensor under another name: nothing is known of it.
    """
    if node.domain != "" or node.op_type not in LAYERS or len(node.inputs) < 2:
        return None
    data, weights = _dequantizer(node.inputs[0]), _dequantizer(node.inputs[1])
    stored = None if weights is None or weights.inputs[0] is None else weights.inputs[0]
    if (
        data is None
        or weights is None
        or stored is None
        or weights.outputs[0] is not node.inputs[1]
    ):
        return None
    try:
        grid, values = grid_of(data), constant_of(stored)
        if values is None:
            return None
        read, made = (
            QdqTensor(stripped(value.name or ""), (), grid, grid.qmin, grid.qmax)
            for value in (data.outputs[0], node.outputs[0])
        )
        constant = QdqConstant(stripped(stored.name or ""), values, grid_of(weights))
        return QdqOp(node.op_type, title(node), (read, constant), made, attributes_of(node, ()))
    except ArtefactError:
        return None


def dynamic_layer(node: ir.Node) -> QdqOp | None:
    """A product of matrices with stored weights that quantises its input as it runs, to uint8.

    ConvInteger is left out: ONNX Runtime adds its products in 32 bits on every processor (seen).
    """
    if node.op_type not in DYNAMIC_PRODUCTS or len(node.inputs) < 2 or node.inputs[1] is None:
        return None
    values = constant_of(node.inputs[1])
    if values is None or values.ndim < 2 or values.dtype.name not in ("int8", "uint8"):
        return None
    place = DYNAMIC_PRODUCTS[node.op_type]
    stored = node.inputs[place] if len(node.inputs) > place else None
    zero_point = None if stored is None else constant_of(stored)
    if zero_point is not None and zero_point.size > 1:
        return None
    dtype: Literal["int8", "uint8"] = "int8" if values.dtype == np.int8 else "uint8"
    zero = 0 if zero_point is None else int(zero_point.reshape(-1)[0])
    weights = QuantParams.of(1.0, zero, dtype=dtype)
    grid = QuantParams.of(1.0, dtype="uint8", qmin=0, qmax=255)
    read, made = (
        QdqTensor(stripped(value.name or ""), (), grid, 0, 255)
        for value in (node.inputs[0], node.outputs[0])
        if value is not None
    )
    constant = QdqConstant(stripped(node.inputs[1].name or ""), values, weights)
    return QdqOp(node.op_type, title(node), (read, constant), made, {})


def _dequantizer(value: ir.Value | None) -> ir.Node | None:
    """The DequantizeLinear whose numbers a value holds, moved or clipped at most."""
    while value is not None and (node := value.producer()) is not None:
        if node.op_type == "DequantizeLinear":
            return node
        traits = traits_of(node.op_type)
        passes = node.domain == "" and traits.data == 1 and (traits.moves or traits.keeps_axes)
        value = node.inputs[0] if passes else None
    return None
