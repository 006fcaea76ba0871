"""How many multiplications with addition an operator of the integer view takes.

What a share of a network is a share of.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeq.qdq.ir import QdqConstant, QdqTensor

if TYPE_CHECKING:
    from edgeq.qdq.ir import Operand, QdqOp


def macs_of(op: QdqOp) -> int:
    """The multiplications with addition of one operator, for one inference of the shapes in the view; 0 for cheap ones."""
    if op.op_type in ("Conv", "Gemm"):
        weights = op.inputs[1]
        channels = op.output.shape[1]
        return math.prod(op.output.shape) * math.prod(shape_of(weights)) // channels
    if op.op_type == "ConvTranspose":
        return math.prod(shape_of(op.inputs[0])) * math.prod(shape_of(op.inputs[1])[1:])
    if op.op_type == "MatMul":
        return math.prod(op.output.shape) * shape_of(op.inputs[0])[-1]
    return 0


def shape_of(operand: Operand | None) -> tuple[int, ...]:
    """The shape of an operand; () for one that is left out."""
    if isinstance(operand, QdqTensor):
        return operand.shape
    return operand.values.shape if isinstance(operand, QdqConstant) else ()
