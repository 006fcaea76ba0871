"""Sums, products and functions of tensors, and what they do to errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from edgeq.deploy.bounds.drift.signal import Exact, both, l2
from edgeq.qdq.ir import QdqTensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from edgeq.deploy.bounds.drift.signal import Signal
    from edgeq.qdq.ir import Operand

    Real = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum of two tensors, or their difference.

    Attributes:
        sign: of the second.
    """

    sign: float = 1.0
    computes = True

    def values(self, operands: Sequence[Tensor]) -> Tensor:
        """The sum; see :class:`Effect`."""
        first, second = operands
        return first + self.sign * second

    def exact(self, sources: Sequence[Signal]) -> Exact:
        """Errors add up; see :class:`Effect`."""
        first, second = sources
        error = first.error + second.error
        norms = [s.norm * math.sqrt(error[0].numel() / s.error[0].numel()) for s in sources]
        return Exact(*both(self.values, sources), error, norms[0] + norms[1])


@dataclass(frozen=True, slots=True)
class Product:
    """A product of two tensors: ``|ab - a'b'| <= |a| e_b + |b| e_a + e_a e_b``.

    Attributes:
        largest: the largest magnitude of each, where no reference is known.
    """

    largest: tuple[float, float]
    computes = True

    @classmethod
    def of(cls, operands: Sequence[Operand]) -> Product:
        """The product of two operands."""
        first, second = (_largest(each) for each in operands)
        return cls((first, second))

    def values(self, operands: Sequence[Tensor]) -> Tensor:
        """The product; see :class:`Effect`."""
        return operands[0] * operands[1]

    def exact(self, sources: Sequence[Signal]) -> Exact:
        """See :class:`Effect`."""
        first, second = sources
        sizes = [
            torch.full_like(s.error, largest) if s.reference is None else s.reference.abs()
            for s, largest in zip(sources, self.largest, strict=True)
        ]
        error = sizes[0] * second.error + sizes[1] * first.error + first.error * second.error
        return Exact(*both(self.values, sources), error, l2(error))


@dataclass(frozen=True, slots=True, eq=False)
class Pointwise:
    """A function of single numbers.

    Attributes:
        function: itself, on float64.
        steepest: its Lipschitz constant.
        monotone: whether it never falls, so that the ends of an interval are where its ends were.
    """

    function: Real
    steepest: float
    monotone: bool
    computes = True

    def values(self, operands: Sequence[Tensor]) -> Tensor:
        """The function; see :class:`Effect`."""
        return self.function(operands[0])

    def exact(self, sources: Sequence[Signal]) -> Exact:
        """See :class:`Effect`."""
        (source,) = sources
        real, rounded = both(self.values, sources)
        error, norm = source.error * self.steepest, source.norm * self.steepest
        if self.monotone and source.reference is not None and real is not None:
            above = self.function(source.reference + source.error) - real
            below = real - self.function(source.reference - source.error)
            error = torch.minimum(error, torch.maximum(above, below))
        return Exact(real, rounded, error, norm)


@dataclass(frozen=True, slots=True)
class Softmax:
    """Softmax along an axis, or its logarithm.

    The Jacobian ``diag(p) - p p^T`` has a norm of at most 1/2 in l2 and in l-infinity. That of the
    logarithm, ``I - 1 p^T``, has at most ``1 + sqrt(n)`` in l2 and 2 in l-infinity.

    Attributes:
        axis: of the file, not negative.
        beta: what its operand is multiplied by.
        logarithm: whether the logarithm of the result is meant.
    """

    axis: int
    beta: float = 1.0
    logarithm: bool = False
    computes = True

    def values(self, operands: Sequence[Tensor]) -> Tensor:
        """The shares, or their logarithms; see :class:`Effect`."""
        return self._of(operands[0] * self.beta)

    def exact(self, sources: Sequence[Signal]) -> Exact:
        """Each number is greatest where its logit is greatest and all others least; see Effect."""
        (source,) = sources
        real, rounded = both(self.values, sources)
        error, count = source.error * self.beta, source.error.shape[self.axis + 1]
        steepest, in_l2 = (2.0, 1 + math.sqrt(count)) if self.logarithm else (0.5, 0.5)
        norm = source.norm * self.beta * in_l2
        if source.reference is None or real is None:
            widest = steepest * error.amax(self.axis + 1, keepdim=True)
            return Exact(real, rounded, widest.expand_as(error), norm)
        logits = source.reference * self.beta
        high, low = logits + error, logits - error
        above, below = self._against(high, low) - real, real - self._against(low, high)
        return Exact(real, rounded, torch.maximum(above, below).clamp(min=0.0), norm)

    def _of(self, x: Tensor) -> Tensor:
        axis = self.axis + 1
        return torch.log_softmax(x, axis) if self.logarithm else torch.softmax(x, axis)

    def _against(self, own: Tensor, others: Tensor) -> Tensor:
        """The result of each logit among others, by sums in which nothing is cancelled."""
        axis = self.axis + 1
        nothing = torch.full_like(others.narrow(axis, 0, 1), -math.inf)
        count = others.shape[axis] - 1
        ahead, behind = others.narrow(axis, 0, count), others.narrow(axis, 1, count).flip(axis)
        parts = [
            torch.cat([nothing, ahead.logcumsumexp(axis)], axis),
            torch.cat([nothing, behind.logcumsumexp(axis)], axis).flip(axis),
        ]
        apart = own - torch.logaddexp(*parts)
        return F.logsigmoid(apart) if self.logarithm else torch.sigmoid(apart)


FUNCTIONS: dict[str, Pointwise] = {
    "Sigmoid": Pointwise(torch.sigmoid, 0.25, monotone=True),
    "Tanh": Pointwise(torch.tanh, 1.0, monotone=True),
    "HardSwish": Pointwise(F.hardswish, 1.5, monotone=False),
    "Relu": Pointwise(torch.relu, 1.0, monotone=True),
}
"""Functions without parameters, by ONNX operator; HardSwish is steepest at 3: (2 * 3 + 3) / 6."""


def leaky_relu(slope: float) -> Pointwise:
    """LeakyRelu."""

    def bent(x: Tensor) -> Tensor:
        return torch.where(x >= 0, x, slope * x)

    return Pointwise(bent, max(1.0, abs(slope)), monotone=slope >= 0)


def _largest(operand: Operand) -> float:
    if isinstance(operand, QdqTensor):
        zero = operand.zero_point
        return max(abs(operand.low - zero), abs(operand.high - zero)) * float(operand.scale)
    return 0.0  # a constant has a reference
