"""A file's integer operators as errors go through them, whatever format they came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from edgeq.brief import brief
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from edgeq.deploy.bounds.drift.signal import Exact, Signal
    from edgeq.qdq.ir import Activation, Operand, QdqTensor
    from edgeq.target import TensorSpec

Epilogue = Literal["", "softmax", "log_softmax", "argmax"]


class Effect(Protocol):
    """What an operator does to real numbers and to errors."""

    @property
    def computes(self) -> bool:
        """Whether kernels round its result even where the grid stays."""
        ...

    def values(self, operands: Sequence[Tensor], /) -> Tensor:
        """The result of operands, (samples, *shape) each, float64."""
        ...

    def exact(self, sources: Sequence[Signal]) -> Exact:
        """The result of deployed numbers beside that of real ones, before its quantiser."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Operator:
    """One operator.

    Attributes:
        op_type: what the file calls it.
        operands: what it computes with; weights and biases are in the effect.
        output: what it computes.
        effect: how.
        activation: between the operator and its quantiser.
        kept: whether its result has the grid of all that it reads.
    """

    op_type: str
    operands: tuple[Operand, ...]
    output: QdqTensor
    effect: Effect
    activation: Activation
    kept: bool

    __repr__ = brief


@dataclass(frozen=True, slots=True, eq=False)
class DriftGraph:
    """The operators of a file, each after those it reads.

    Attributes:
        operators: all of them.
        inputs: the tensors that hold the inputs, in the layout of the file.
        specs: of each input, how data come to its layout.
        output: the tensor that the first output shows.
        epilogue: what stands, in float, between the two.
        axis: the axis of that, not negative; -1 without one.
    """

    operators: tuple[Operator, ...]
    inputs: tuple[QdqTensor, ...]
    specs: tuple[TensorSpec, ...]
    output: QdqTensor
    epilogue: Epilogue = ""
    axis: int = -1

    __repr__ = brief

    def tensors(self) -> dict[str, QdqTensor]:
        """Every tensor by name, inputs first, then in the order of the file."""
        found = (*self.inputs, *(op.output for op in self.operators))
        return {tensor.name: tensor for tensor in found}


def refused(op_type: str, name: str, why: str) -> UsageError:
    """An error that names an operator of which no bound is known."""
    return UsageError(
        f"no bound is known for {op_type} {name!r}: {why}",
        hint="leave --data and --drift out, or cut the model in front of it",
    )
