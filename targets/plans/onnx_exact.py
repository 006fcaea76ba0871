"""The form of a file in which ONNX Runtime's kernels are exact on every processor.

The reference target runs it.

With its optimisation off, a QDQ file is computed in float. A QOperator file is not: QLinearConv and
the like have one kernel, optimised or not, and where a processor has no dot products that kernel
adds pairs of uint8 times int8 in 16 bits. So QOperators are run in the QDQ form that they mean.
What has none (``MatMulInteger`` and others of dynamic quantisation) gets its int8 weights as uint8
with the zero point moved by 128: the same numbers, which have a kernel that is exact everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import TargetError
from edgeq.qdq.nodes import constant_of, title
from edgeq.qdq.qoperator.convert import as_qdq

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx
    import onnx_ir as ir

_WEIGHTS: Mapping[str, tuple[tuple[int, int], ...]] = {
    "MatMulInteger": ((1, 3),),
    "MatMulIntegerToFloat": ((1, 5),),
    "DynamicQuantizeMatMul": ((1, 3),),
    "DynamicQuantizeLSTM": ((1, 9), (2, 11)),
    "QAttention": ((1, 7),),
    "QGemm": ((3, 5),),
    "QLinearConv": ((3, 5),),
    "QLinearMatMul": ((3, 5),),
}  # where operators that add pairs have their weights, and those weights' zero points
_SHIFT = 128


def exact_form(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same numbers in operators that are exact; the model itself where all of them are already.

    Raises:
        TargetError: int8 operands that meet uint8 ones are computed at run time; names the
            operator.
    """
    import onnx_ir as ir

    if not any(
        node.op_type in _WEIGHTS or node.op_type.startswith("QLinear") for node in model.graph.node
    ):
        return model
    rewritten = as_qdq(ir.from_proto(model))
    for node in rewritten.graph:
        for weights, zero_point in _WEIGHTS.get(node.op_type, ()):
            _widen(rewritten.graph, node, weights, zero_point)
    return ir.to_proto(rewritten)


def _widen(graph: ir.Graph, node: ir.Node, weights: int, zero_point: int) -> None:
    import onnx_ir as ir

    value = node.inputs[weights]
    kind = None if value is None else value.dtype
    if value is None or kind != ir.DataType.INT8 or _signed(node):
        return
    stored = constant_of(value)
    zero = node.inputs[zero_point] if zero_point < len(node.inputs) else None
    offsets = np.zeros((), np.int8) if zero is None else constant_of(zero)
    if stored is None or offsets is None:
        raise TargetError(
            f"{node.op_type} {title(node)!r} multiplies uint8 by int8 numbers that are "
            "computed at run time, which is not exact on "
            "processors without integer dot products",
            hint="quantise that operand to uint8, or run the file on ort-cpu, which computes "
            "as the processor does",
        )
    if zero_point >= len(node.inputs):
        node.resize_inputs(zero_point + 1)
    for position, numbers, name in (
        (weights, stored, value.name),
        (zero_point, offsets, f"{node.outputs[0].name}_{weights}_zero"),
    ):
        shifted = ir.tensor(
            (numbers.astype(np.int16) + _SHIFT).astype(np.uint8), name=f"{name}_uint8"
        )
        moved = ir.Value(
            name=shifted.name,
            type=ir.TensorType(ir.DataType.UINT8),
            shape=ir.Shape(numbers.shape),
            const_value=shifted,
        )
        graph.initializers[moved.name or ""] = moved
        node.replace_input_with(position, moved)


def _signed(node: ir.Node) -> bool:
    """Whether the other operand is int8 too: that has a kernel which is exact."""
    import onnx_ir as ir

    data = node.inputs[0]
    return data is not None and data.dtype == ir.DataType.INT8
