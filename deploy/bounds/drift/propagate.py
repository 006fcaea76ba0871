"""From the inputs of a file to its outputs: how far any deployed number can be from the real one.

Two bounds go along every tensor and sharpen each other. One is an interval for each number: what
errors of the inputs come to through the magnitudes of the weights, cut where a quantiser clips. The
other is the l2 norm of all errors together, through the norm of each layer. The first is the
tighter one in shallow networks; the second alone sees that a symmetric step does not expand.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from edgeq.deploy.bounds.drift.arithmetic import Softmax, Sum
from edgeq.deploy.bounds.drift.maps import LinearMap
from edgeq.deploy.bounds.drift.signal import (
    FLOAT_FUNCTION,
    OWN_ROUNDING,
    SLACK,
    Exact,
    Signal,
    l2,
    quantized,
)
from edgeq.deploy.bounds.drift.steps import step_norm
from edgeq.qdq.ir import QdqConstant, QdqTensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from edgeq.deploy.bounds.drift.graph import DriftGraph, Operator
    from edgeq.deploy.bounds.drift.signal import Rules
    from edgeq.qdq.ir import Operand


class Propagation:
    """Errors through one graph; its residual steps are found once.

    Args:
        graph: the operators of the file.
    """

    def __init__(self, graph: DriftGraph) -> None:
        self.graph = graph
        self._makers = {op.output.name: op for op in graph.operators}
        self.steps = dict(self._steps())

    def _steps(self) -> Iterator[tuple[str, tuple[str, str, float]]]:
        """Sums that are residual steps: the tensors in the branch, and the norm of the step."""
        for op in self.graph.operators:
            if not isinstance(op.effect, Sum) or op.effect.sign < 0:
                continue
            for skip, branch in (op.operands, op.operands[::-1]):
                second = self._layer(branch)
                first = None if second is None else self._layer(second.operands[0])
                if first is None or second is None or first.operands[0] is not skip:
                    continue
                norm = _step_norm(first, second)
                if norm is not None:
                    yield op.output.name, (first.output.name, second.output.name, norm)

    def _layer(self, operand: Operand) -> Operator | None:
        """The layer that makes an operand."""
        found = self._makers.get(operand.name) if isinstance(operand, QdqTensor) else None
        return found if found is not None and isinstance(found.effect, LinearMap) else None

    def run(self, inputs: Mapping[str, Tensor] | None, rules: Rules) -> dict[str, Signal]:
        """Every tensor of the file, inputs first.

        Args:
            inputs: real numbers for each input, (samples, *shape), float64; None for bounds that
                hold for all inputs, which needs a reference that is clipped.
            rules: of kernels and of the reference.
        """
        if inputs is None and not rules.clipped:
            raise ValueError("without data only a clipped reference is bounded")
        signals: dict[str, Signal] = {}
        for tensor in self.graph.inputs:
            real = None if inputs is None else inputs[tensor.name]
            nothing = torch.zeros((1, *tensor.shape) if real is None else real.shape).double()
            exact = Exact(real, real, nothing, l2(nothing))
            signals[tensor.name] = quantized(tensor, exact, rules, lsb=OWN_ROUNDING)
        for op in self.graph.operators:
            signals[op.output.name] = quantized(
                op.output,
                self._exact(op, signals),
                rules,
                activation=op.activation,
                lsb=0.0 if op.kept and not op.effect.computes else None,
            )
        return signals

    def _exact(self, op: Operator, signals: Mapping[str, Signal]) -> Exact:
        exact = op.effect.exact([_signal(each, signals) for each in op.operands])
        if op.output.name not in self.steps:
            return exact
        inner, branch, lipschitz = self.steps[op.output.name]
        first, second = op.operands
        skip = first if first.name != branch else second
        last = self._makers[branch].effect
        behind = last.norm if isinstance(last, LinearMap) else 0.0
        through = behind * signals[inner].own + signals[branch].unlike
        norm = torch.minimum(exact.norm, lipschitz * signals[skip.name].norm + through)
        return Exact(exact.reference, exact.rounded, exact.error, norm, exact.added)

    def answer(self, signals: Mapping[str, Signal]) -> Signal:
        """What the file answers: its first output, behind a softmax in float if there is one."""
        shown = signals[self.graph.output.name]
        if self.graph.epilogue not in ("softmax", "log_softmax"):
            return shown
        end = Softmax(self.graph.axis, logarithm=self.graph.epilogue == "log_softmax")
        exact = end.exact([shown])
        tensor, largest = self.graph.output, 1.0
        if end.logarithm:
            width = (tensor.high - tensor.low) * float(tensor.scale)
            largest = width + math.log(tensor.shape[self.graph.axis])
        size = torch.full_like(exact.error, FLOAT_FUNCTION * largest)
        error = exact.error * (1 + SLACK) + size
        norm = exact.norm * (1 + SLACK) + l2(size)
        return Signal(exact.reference, exact.rounded, error, norm, norm, norm)


def _step_norm(first: Operator, second: Operator) -> float | None:
    """A bound on the Lipschitz constant of the step with this branch; None where none is known."""
    if second.activation:
        return None
    layers = first.effect, second.effect
    filters = [each.filters for each in layers if isinstance(each, LinearMap)]
    if len(filters) < len(layers) or filters[0] is None or filters[1] is None:
        return None
    return step_norm(filters[0], filters[1])


def _signal(operand: Operand, signals: Mapping[str, Signal]) -> Signal:
    if not isinstance(operand, QdqConstant):
        return signals[operand.name]
    # its rounding is part of the file, as that of weights is
    real = torch.from_numpy(operand.dequantized().astype("float64"))[None]
    nothing = torch.zeros_like(real)
    none = torch.zeros(1, dtype=torch.float64)
    return Signal(real, real, nothing, none, none, none)
