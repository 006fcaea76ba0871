"""Functions of one or two numbers, element by element.

As tables where operands have 8 bits, else by their formula.

A table is made by evaluating the formula for every integer that may come in, so it is the formula,
only faster.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from edgeq.brief import brief

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from edgeq.targets.emulator.program import Log, StepKernel

    Formula = Callable[..., Tensor]

_LARGEST_TABLE = 1 << 16


@dataclass(frozen=True, slots=True)
class CenteredRange:
    """The smallest and the largest level that an operand can have."""

    low: int
    high: int

    @property
    def size(self) -> int:
        """How many integers it holds."""
        return self.high - self.low + 1

    @property
    def largest(self) -> int:
        """The largest magnitude."""
        return max(abs(self.low), abs(self.high))

    def centered(self) -> Tensor:
        """All of them, float32."""
        return torch.arange(self.low, self.high + 1, dtype=torch.float32)


def elementwise(formula: Formula, ranges: Sequence[CenteredRange]) -> StepKernel:
    """The kernel of a function of one or two numbers.

    Args:
        formula: levels to levels, float32 tensors that broadcast.
        ranges: of the operands.
    """
    if math.prod(one.size for one in ranges) > _LARGEST_TABLE:
        return Direct(formula)
    if len(ranges) == 1:
        return LookupKernel(formula(ranges[0].centered()), ranges[0].low)
    first, second = ranges
    return Pairs(
        formula(first.centered()[:, None], second.centered()[None, :]).reshape(-1),
        first.low,
        second.low,
        second.size,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Direct:
    """A formula evaluated as it is."""

    formula: Formula

    def __call__(self, operands: Sequence[Tensor], log: Log) -> Tensor:  # noqa: ARG002
        """Compute the result; see :class:`edgeq.targets.emulator.program.StepKernel`."""
        return self.formula(*aligned(operands))


@dataclass(frozen=True, slots=True, eq=False)
class LookupKernel:
    """A unary elementwise function.

    Attributes:
        values: its levels, float32, for each level of the operand from the smallest on.
        low: that least level.
    """

    values: Tensor
    low: int

    __repr__ = brief

    def __call__(self, operands: Sequence[Tensor], log: Log) -> Tensor:  # noqa: ARG002
        """Compute the result; see :class:`edgeq.targets.emulator.program.StepKernel`."""
        place = (operands[0] - self.low).to(torch.int32)
        return self.values.index_select(0, place.reshape(-1)).reshape(place.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """A function of two numbers.

    Attributes:
        values: its levels, float32, for each pair of levels, row by row.
        first: the smallest level of the first operand.
        second: that of the second.
        width: the length of a row.
    """

    values: Tensor
    first: int
    second: int
    width: int

    __repr__ = brief

    def __call__(self, operands: Sequence[Tensor], log: Log) -> Tensor:  # noqa: ARG002
        """Compute the result; see :class:`edgeq.targets.emulator.program.StepKernel`."""
        one, other = aligned(operands)
        place = torch.add(other, one, alpha=self.width)  # exact: the table has 2**16 places
        place.sub_(self.first * self.width + self.second)
        return self.values.index_select(0, place.to(torch.int32).reshape(-1)).reshape(place.shape)


def aligned(operands: Sequence[Tensor]) -> list[Tensor]:
    """Operands with equally many dimensions, ones put in behind the samples."""
    rank = max(operand.ndim for operand in operands)
    return [
        operand.reshape(operand.shape[0], *[1] * (rank - operand.ndim), *operand.shape[1:])
        for operand in operands
    ]
