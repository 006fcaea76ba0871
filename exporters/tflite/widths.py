"""Operators that TFLite has no exact kernel for in 8 bits, in 16 bits.

Its kernels know one width, and those of 8 bits overflow where an output's step is far smaller than
its operands'. A tensor of 8 bits on a grid of 16 with the same step and its zero
point at 0 is the same numbers, and back again only saturates, so nothing is rounded by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgeq.exporters.tflite.ops.elementwise import fits_kernel
from edgeq.exporters.tflite.storage import choose_storage
from edgeq.numerics.pointwise import UNARY
from edgeq.qdq.ir import QdqOp, QdqTensor
from edgeq.quant import STORAGE_RANGE, QuantParams

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.qdq.ir import QdqGraph

_WIDE = frozenset(("int16", "uint16"))
_AS_THEY_ARE = frozenset(("Requantize", "Lookup", *UNARY))
"""What is a change of grid, or a table of the integers that it reads, whatever it holds."""
_LOW, _HIGH = STORAGE_RANGE["int16"]


def in_one_width(graph: QdqGraph) -> QdqGraph:
    """A graph in which each operator's tensors are all of 8 bits, or all of 16.

    Args:
        graph: the integer view of a model; changes of grid may lie between widths as they do.
    """
    storages = choose_storage(graph)
    widening = _Widening({name: storage.zero_point for name, storage in storages.items()})
    for op in graph.ops:
        widening.write(op)
    return replace(graph, ops=tuple(widening.ops))


@dataclass(slots=True)
class _Widening:
    zero_points: Mapping[str, int]
    ops: list[QdqOp] = field(default_factory=list)
    wide: dict[str, QdqTensor] = field(default_factory=dict)

    def write(self, op: QdqOp) -> None:
        tensors = [each for each in (*op.inputs, op.output) if isinstance(each, QdqTensor)]
        widths = {
            tensor.params.dtype in _WIDE
            for tensor in tensors
            if not tensor.is_float and not tensor.is_index
        }
        both = len(widths) == len((True, False)) and op.op_type not in _AS_THEY_ARE
        overflows = widths == {False} and not fits_kernel(op, self.zero_points[op.output.name])
        if not both and not overflows:
            self.ops.append(op)
            return
        inputs = tuple(
            self._widened(each) if isinstance(each, QdqTensor) and _is_narrow(each) else each
            for each in op.inputs
        )
        if not _is_narrow(op.output):
            self.ops.append(replace(op, inputs=inputs))
            return
        output = self.wide[op.output.name] = _on_wide_grid(op.output, *_saturating(op))
        self.ops.append(replace(op, inputs=inputs, output=output))
        self.ops.append(_change(output, op.output))

    def _widened(self, tensor: QdqTensor) -> QdqTensor:
        if tensor.name not in self.wide:
            low, high = (each - tensor.zero_point for each in (tensor.low, tensor.high))
            self.wide[tensor.name] = _on_wide_grid(tensor, low, high)
            self.ops.append(_change(tensor, self.wide[tensor.name]))
        return self.wide[tensor.name]


def _is_narrow(tensor: QdqTensor) -> bool:
    return not tensor.is_float and not tensor.is_index and tensor.params.dtype not in _WIDE


def _on_wide_grid(tensor: QdqTensor, low: int, high: int) -> QdqTensor:
    """The tensor on the grid of 16 bits with its step, between two integers of that grid."""
    return replace(
        tensor,
        name=f"{tensor.name}~wide",
        params=QuantParams.of(tensor.params.scale, 0, "int16"),
        low=low,
        high=high,
        graph_input="",
    )


def _saturating(op: QdqOp) -> tuple[int, int]:
    """Between what an operator's result lies before it is narrowed: what clips it, if anything."""
    output = op.output
    ends = STORAGE_RANGE[output.params.dtype]
    low = output.low - output.zero_point if op.activation and output.low > ends[0] else _LOW
    high = output.high - output.zero_point if op.activation and output.high < ends[1] else _HIGH
    return low, high


def _change(source: QdqTensor, target: QdqTensor) -> QdqOp:
    return QdqOp("Requantize", f"{target.name}/Requantize", (source,), target)
