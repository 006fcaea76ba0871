"""Functions of one quantised tensor that a file writes as several float nodes, as one table.

``x * Sigmoid(x)``, ``x * HardSigmoid(x)``, Gelu in terms of Erf, ``x / 6``: where no quantiser
stands between the nodes, the result still depends on one integer of 16 bits at most, so it is a
table, and a table is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.numerics.pointwise import BINARY, UNARY, evaluate
from edgeq.qdq.ir import QdqConstant, QdqTensor
from edgeq.qdq.nodes import title
from edgeq.qdq.symbolic import DeferredOp, Dequantized
from edgeq.quant import STORAGE_RANGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.numerics.attributes import AttributeValue
    from edgeq.qdq.symbolic import SymbolicValue

_DTYPES = frozenset(("int4", "uint4", "int8", "uint8", "int16", "uint16"))


def integers_of(tensor: QdqTensor) -> NDArray[np.int32]:
    """Every integer that the storage dtype of a tensor can hold, in order."""
    low, high = STORAGE_RANGE[tensor.params.dtype]
    return np.arange(low, high + 1, dtype=np.int32)


def fuse_to_lookup(
    node: ir.Node, operands: Sequence[SymbolicValue | None], attributes: dict[str, AttributeValue]
) -> DeferredOp | None:
    """The table of a node whose operands all depend on one tensor; None for any other node."""
    if node.op_type not in BINARY and node.op_type not in UNARY:
        return None
    if not _spelled_out(node, operands):
        return None
    sources = {
        id(source): source for operand in operands if (source := _source(operand)) is not None
    }
    if len(sources) != 1 or len(operands) > 2:
        return None
    (source,) = sources.values()
    curves = [_curve(operand, source) for operand in operands]
    known = tuple(curve for curve in curves if curve is not None)
    if len(known) < len(curves):
        return None
    values = np.broadcast_to(evaluate(node.op_type, known, attributes), integers_of(source).shape)
    table = QdqConstant(f"{node.outputs[0].name}~values", np.ascontiguousarray(values), None)
    return DeferredOp(node, node.outputs[0], "Lookup", (Dequantized(source), table), {})


def check_numbers(deferred: DeferredOp) -> None:
    """See that a function with bounds after it has a value for every integer of its input.

    Processors bound NaN differently.

    Raises:
        ArtefactError: it has none for one of them.
    """
    operand = deferred.operands[0] if deferred.operands else None
    if (
        not isinstance(operand, Dequantized)
        or not operand.tensor.per_tensor
        or (deferred.op_type not in UNARY and deferred.op_type != "Lookup")
    ):
        return
    source = operand.tensor
    values = None if source.is_float else _unclipped(deferred, source)
    if values is None:
        return
    integers = integers_of(source)
    if np.isnan(values[(integers >= source.low) & (integers <= source.high)]).any():
        raise ArtefactError(
            f"{deferred.node.op_type} {title(deferred.node)!r} has no value for some of "
            "its input, and a bound follows: "
            "processors bound NaN differently",
            hint="bound its input to where it is a number, or take away the Relu or Clip after it",
        )


def _spelled_out(node: ir.Node, operands: Sequence[SymbolicValue | None]) -> bool:
    """Whether an operand is itself a float result or a bare number.

    Else the node is an operator of its own.
    """
    bare = any(
        isinstance(o, QdqConstant)
        and o.params is None
        and o.values.size == 1
        and o.values.dtype.kind == "f"
        for o in operands
    )
    doubled = len(operands) == 2 and node.op_type in ("Div", "Pow", "Max", "Min")
    return (
        bare
        or doubled
        or any(
            isinstance(o, DeferredOp) and not (o.op_type == "Requantize" and o.activation == "relu")
            for o in operands
        )
    )


def _source(operand: SymbolicValue | None) -> QdqTensor | None:
    if isinstance(operand, DeferredOp):
        return (
            _source(operand.operands[0])
            if operand.op_type in UNARY or operand.op_type in ("Lookup", "Requantize")
            else None
        )
    if (
        isinstance(operand, Dequantized)
        and operand.tensor.per_tensor
        and operand.tensor.params.dtype in _DTYPES
        and not operand.tensor.is_float
    ):
        return operand.tensor
    return None


def _curve(operand: SymbolicValue | None, source: QdqTensor) -> NDArray[np.float32] | None:
    """The operand for each integer of the source; one number for a constant."""
    if isinstance(operand, QdqConstant):
        if operand.values.size != 1:
            return None
        return operand.dequantized().reshape(1)
    if isinstance(operand, Dequantized):
        return source.params.dequantize(integers_of(source)) if operand.tensor is source else None
    if not isinstance(operand, DeferredOp) or _source(operand) is not source:
        return None
    unclipped = _unclipped(operand, source)
    return (
        None
        if unclipped is None
        else np.clip(unclipped, np.float32(operand.low), np.float32(operand.high))
    )


def _unclipped(deferred: DeferredOp, source: QdqTensor) -> NDArray[np.float32] | None:
    if deferred.op_type == "Lookup":
        table = deferred.operands[1]
        return table.values.astype(np.float32) if isinstance(table, QdqConstant) else None
    inner = _curve(deferred.operands[0], source)
    if inner is None or deferred.op_type == "Requantize":
        return inner
    return evaluate(deferred.op_type, (inner,), deferred.attributes)
