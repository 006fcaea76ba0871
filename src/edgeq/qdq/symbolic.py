"""What a value of a QDQ file can mean while it is read, before all of it is integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from edgeq.qdq.ir import Attributed

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from edgeq.numerics.attributes import AttributeValue
    from edgeq.qdq.ir import Activation, FoldedNorm, QdqConstant, QdqTensor
    from edgeq.quant import QuantParams


@dataclass(frozen=True, slots=True, eq=False)
class Quantized:
    """The integers of a tensor."""

    tensor: QdqTensor


@dataclass(frozen=True, slots=True, eq=False)
class Dequantized:
    """The numbers that a tensor's integers stand for."""

    tensor: QdqTensor


@dataclass(frozen=True, slots=True, eq=False)
class Input:
    """An input of the graph, not quantised yet."""

    value: ir.Value


@dataclass(frozen=True, slots=True, eq=False)
class ShapeValue:
    """Arithmetic on shapes; only Reshape reads it, whose output's shape is known anyway."""


@dataclass(frozen=True, slots=True, eq=False)
class DeferredOp(Attributed):
    """A float result that waits for its quantiser, clipped to ``low .. high``."""

    node: ir.Node
    value: ir.Value
    op_type: str
    operands: tuple[SymbolicValue | None, ...]
    attributes: Mapping[str, AttributeValue]
    low: float = float("-inf")
    high: float = float("inf")
    activation: Activation = ""
    norm: FoldedNorm | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether a clip follows it."""
        return (self.low, self.high) != (float("-inf"), float("inf"))


SymbolicValue: TypeAlias = "QdqConstant | Quantized | Dequantized | Input | ShapeValue | DeferredOp"
Key: TypeAlias = tuple[int, str, bytes, bytes, int, int]


@dataclass(frozen=True, slots=True)
class QuantizedRange:
    """Where a quantiser puts its result: stored grid, and the integers left after clipping."""

    params: QuantParams
    low: int
    high: int


def activation_of(low: float, high: float) -> Activation:
    """The activation that bounds a result so; empty where none does."""
    if low == 0.0:
        return "relu6" if high == 6.0 else "relu" if high == float("inf") else ""
    return ""
