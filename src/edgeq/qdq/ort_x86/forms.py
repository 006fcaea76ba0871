"""What ONNX Runtime on x86 makes of a quantised file.

The types it holds activations in, and which operators stay in float.

Its optimiser turns int8 activations of a QDQ file into uint8 with 128 added, but only where one
quantiser writes and one dequantiser reads them: a tensor that two operators read stays int8, as do
the ends of the graph and what an integer Clip narrows. Operators on integers are then put in where
all types fit. What QOperators compute is not touched.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.errors import ArtefactError
from edgeq.formats.quantizers import QUANTIZERS
from edgeq.qdq.ir import QdqConstant, QdqTensor, same_grid
from edgeq.qdq.nodes import bounds_of, grid_of, title
from edgeq.qdq.op_traits import traits_of
from edgeq.qdq.qoperator.operators import is_qoperator

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from edgeq.qdq.ir import Operand, QdqGraph, QdqOp

SHIFT = 128
"""What is added to int8 to hold it as uint8."""

_BYTES = ("int8", "uint8")
_ONE_TYPE = frozenset(("Add", "Mul"))
_GIVE_FLOATS = frozenset(("MatMul", "Gemm"))  # have kernels that need no grid of their result
_LIKE_INPUT = frozenset(
    (
        "Conv",
        "MatMul",
        "Gemm",
        "AveragePool",
        "GlobalAveragePool",
        "LeakyRelu",
        "Sigmoid",
        "Softmax",
    )
)


@dataclass(frozen=True, slots=True, eq=False)
class X86Kernels:
    """How a file is computed on x86.

    Attributes:
        held: the type of each tensor of the view, by name.
        in_float: for each result that is computed in float, by name, why.
    """

    held: Mapping[str, str]
    in_float: Mapping[str, str]

    def exact(self, graph: QdqGraph) -> frozenset[str]:
        """The results of layers whose activations stay int8, or that stay in float.

        No kernel for those adds pairs in 16 bits.
        """
        found = set(self.in_float)
        for op in graph.ops:
            data = op.inputs[0] if op.inputs else None
            if isinstance(data, QdqTensor) and self.held[data.name] != "uint8":
                found.add(op.output.name)
        return frozenset(found)

    def shift_of(self, tensor: QdqTensor) -> int:
        """What is added to a tensor's integers to hold them."""
        return SHIFT if self.held[tensor.name] != tensor.params.dtype else 0


def on_x86(model: ir.Model, graph: QdqGraph) -> X86Kernels:
    """How ONNX Runtime computes a file on x86, its graph optimised.

    Args:
        model: the file as it is written, its QOperators as they are.
        graph: its view.
    """
    held = _held(model, graph)
    own = {
        graph.integers.get(node.outputs[0].name or "") for node in model.graph if is_qoperator(node)
    }
    nodes = {title(node): node for node in model.graph}
    reasons = {
        op.output.name: _why_float(op, nodes.get(op.name), held)
        for op in graph.ops
        if op.output.name not in own
    }
    return X86Kernels(held, {name: why for name, why in reasons.items() if why})


def _held(model: ir.Model, graph: QdqGraph) -> dict[str, str]:
    values = (
        value for node in model.graph if node.op_type not in QUANTIZERS for value in _values(node)
    )
    kept = {graph.integers[value] for value in values if value in graph.integers}
    kept |= {output.tensor.name for output in graph.outputs if output.name in graph.integers}
    ends = {
        value.name
        for value in model.graph.inputs
        if value.dtype is not None and value.dtype.name.lower() in _BYTES
    }
    kept |= {tensor.name for tensor in graph.inputs if tensor.graph_input in ends}
    reads = Counter(
        operand.name for op in graph.ops for operand in op.inputs if isinstance(operand, QdqTensor)
    )
    reads.update(output.tensor.name for output in graph.outputs)

    def moves(tensor: QdqTensor) -> bool:
        return (
            tensor.params.dtype == "int8"
            and tensor.per_tensor
            and reads[tensor.name] == 1
            and tensor.name not in kept
        )

    return {
        name: "uint8" if moves(tensor) else tensor.params.dtype
        for name, tensor in graph.tensors().items()
    }


def _values(node: ir.Node) -> list[str]:
    return [value.name or "" for value in (*node.inputs, *node.outputs) if value is not None]


def _why_float(op: QdqOp, node: ir.Node | None, held: Mapping[str, str]) -> str:
    """What keeps an operator of a QDQ file in float.

    Empty for one that is computed in integers, or only moves them.
    """
    if traits_of(op.op_type).moves or _interpolates_integers(op, held):
        return ""
    if op.op_type not in _LIKE_INPUT | _ONE_TYPE:
        return f"ONNX Runtime has no integer kernel for {op.op_type}"
    types = [_type_of(operand, held) for operand in op.inputs if operand is not None]
    read, result = types[:1] if op.op_type in _LIKE_INPUT else types, held[op.output.name]
    if op.output.is_float:
        if op.op_type not in _GIVE_FLOATS:
            return "its result has no quantiser"
        result = types[0]
    if result not in _BYTES or set(read) != {result}:
        return f"it reads {' and '.join(dict.fromkeys(read))} and gives {result}"
    if op.op_type in ("Conv", "MatMul", "Gemm"):
        if types[1] not in _BYTES:
            return f"its weights are stored as {types[1]}"
        if result == "int8" and (op.op_type != "Gemm" or types[1] != result):
            return (
                "its activations stay int8: something else reads or narrows them too, or they "
                "are an end of the graph"
            )
    return _clipped(node)


def _interpolates_integers(op: QdqOp, held: Mapping[str, str]) -> bool:
    """Whether an operator is a Resize between two equal pairs, which are dropped around it."""
    data = op.inputs[0] if op.op_type == "Resize" else None
    return (
        isinstance(data, QdqTensor)
        and same_grid(data.params, op.output.params)
        and held[data.name] == held[op.output.name]
    )


def _type_of(operand: Operand, held: Mapping[str, str]) -> str:
    if isinstance(operand, QdqConstant):
        return "float32" if operand.params is None else operand.params.dtype
    return "float32" if operand.is_float else held[operand.name]


def _clipped(node: ir.Node | None) -> str:
    """Why a Relu or Clip keeps an operator in float: it bounds more than the quantiser after it."""
    readers = list(node.outputs[0].consumers()) if node is not None else []
    between = readers[0] if len(readers) == 1 and readers[0].op_type in ("Relu", "Clip") else None
    quantizers = (
        [reader for reader in between.outputs[0].consumers() if reader.op_type == "QuantizeLinear"]
        if between is not None
        else []
    )
    if between is None or not quantizers:
        return ""
    try:
        (low, high), grid = bounds_of(between), grid_of(quantizers[0])
    except ArtefactError:
        return ""
    least, greatest = (
        round(bound / float(grid.scale)) + int(grid.zero_point)
        if abs(bound) != float("inf")
        else bound
        for bound in (low, high)
    )
    if least <= grid.qmin and greatest >= grid.qmax:
        return ""
    return f"the {between.op_type} behind it bounds more than its QuantizeLinear does"
