"""The layers of a QDQ model one by one, for a model whose graph cannot be read as a whole.

What a layer reads is known from the dequantiser in front of it, whatever the rest of the graph is.
Less is known than :func:`edgeq.qdq.reader.read_qdq` finds: the range of an input is that of its
type, and nothing has a shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.errors import ArtefactError
from edgeq.qdq.attributes import attributes_of
from edgeq.qdq.ir import QdqConstant, QdqGraph, QdqOp, QdqTensor
from edgeq.qdq.nodes import constant_of, grid_of, stripped, title
from edgeq.qdq.op_traits import LAYERS, traits_of
from edgeq.qdq.qoperator.operators import DYNAMIC_PRODUCTS
from edgeq.quant import QuantParams

if TYPE_CHECKING:
    import onnx_ir as ir

DYNAMIC_MATMULS = frozenset(name for name, kind in DYNAMIC_PRODUCTS.items() if kind == "MatMul")
"""Products of matrices whose input is quantised as they run."""

_BYTES = ("int8", "uint8")


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

    Scales and the weights' zero points are left out: pairs of products do not depend on them.
    ConvInteger is left out: ONNX Runtime adds its products in 32 bits on every processor (seen).
    """
    if node.op_type not in DYNAMIC_MATMULS:
        return None
    data, weights = node.inputs[:2]
    values = None if weights is None else constant_of(weights)
    if data is None or weights is None or values is None or values.dtype.name not in _BYTES:
        return None
    grid = QuantParams.of(1.0, dtype="uint8")
    read, made = (
        QdqTensor(stripped(value.name or ""), (), grid, grid.qmin, grid.qmax)
        for value in (data, node.outputs[0])
    )
    stored = QuantParams.of(1.0, dtype=values.dtype.name)
    constant = QdqConstant(stripped(weights.name or ""), values, stored)
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
