"""From the inputs of a file to its outputs: how far any deployed number can be from the real one.

Two bounds go along every tensor and sharpen each other. One is an interval for each number: what
errors of the inputs come to through the magnitudes of the weights, cut where a quantiser clips. The
other is the l2 norm of all errors together, through the norm of each layer. The first is the
tighter one in shallow networks; the second alone sees that a symmetric step does not expand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgeq.deploy.bounds.drift.maps import layer_of, refused
from edgeq.deploy.bounds.drift.moves import move_of
from edgeq.deploy.bounds.drift.signal import OWN_ROUNDING, Exact, Signal, l2, quantized
from edgeq.deploy.bounds.drift.steps import step_norm
from edgeq.errors import UsageError
from edgeq.qdq.ir import QdqConstant, QdqTensor, same_grid
from edgeq.qdq.op_traits import LAYERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from edgeq.deploy.bounds.drift.maps import LinearMap
    from edgeq.deploy.bounds.drift.moves import Move
    from edgeq.deploy.bounds.drift.signal import Rules
    from edgeq.qdq.ir import QdqGraph, QdqOp


class Propagation:
    """Errors through one graph; layers and norms are computed once.

    Args:
        graph: the integer view of the file.

    Raises:
        UsageError: it has an operator of which no bound is known; names it.
    """

    def __init__(self, graph: QdqGraph) -> None:
        self.graph = graph
        self.layers: dict[str, LinearMap] = {}
        self.moves: dict[str, Move] = {}
        self._makers = {op.output.name: op for op in graph.ops}
        for op in graph.ops:
            self._prepare(op)
        self.steps = dict(self._steps())

    def _prepare(self, op: QdqOp) -> None:
        name, tensors = op.output.name, [each for each in op.inputs if each is not None]
        if op.output.is_float or any(isinstance(t, QdqTensor) and t.is_float for t in tensors):
            raise refused(op, "it is in float")
        if op.output.params.axis is not None:
            raise refused(op, "its result has one scale a channel")
        if op.op_type in LAYERS and isinstance(op.inputs[1], QdqConstant):
            self.layers[name] = layer_of(op)
        elif op.op_type not in ("Add", "Sub", "Mul"):
            move = move_of(op)
            if move is None:
                raise refused(op, "its derivative is not known")
            self.moves[name] = move

    def _steps(self) -> Iterator[tuple[str, tuple[str, str, float]]]:
        """Sums that are residual steps: the tensors in the branch, and the norm of the step."""
        for op in self.graph.ops:
            if op.op_type != "Add" or len(op.inputs) != 2:
                continue
            for skip, branch in (op.inputs, op.inputs[::-1]):
                second = self._maker(branch)
                first = self._maker(None if second is None else second.inputs[0])
                if first is None or second is None or first.inputs[0] is not skip:
                    continue
                if not {first.op_type, second.op_type} <= {"Conv", "ConvTranspose"}:
                    continue
                names = first.output.name, second.output.name
                weights = [self.layers[name].weight.numpy() for name in names]
                norm = step_norm(first, second, (weights[0], weights[1]))
                if norm is not None and not second.activation:
                    yield op.output.name, (*names, norm)

    def _maker(self, operand: object) -> QdqOp | None:
        found = self._makers.get(operand.name) if isinstance(operand, QdqTensor) else None
        return found if found is not None and found.output.name in self.layers else None

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
            real = None if inputs is None else inputs[tensor.graph_input]
            nothing = torch.zeros((1, *tensor.shape) if real is None else real.shape).double()
            exact = Exact(real, real, nothing, l2(nothing))
            signals[tensor.name] = quantized(tensor, exact, rules, lsb=OWN_ROUNDING)
        for op in self.graph.ops:
            operands = [_signal(each, signals) for each in op.inputs]
            signals[op.output.name] = self._through(op, operands, signals, rules)
        return signals

    def _through(
        self,
        op: QdqOp,
        operands: Sequence[Signal | None],
        signals: Mapping[str, Signal],
        rules: Rules,
    ) -> Signal:
        name = op.output.name
        if name in self.layers:
            return self._layer(op, _present(op, operands[:1])[0], rules)
        if name in self.moves:
            return self._move(op, _present(op, operands), rules)
        first, second = _present(op, operands)
        if op.op_type == "Mul":
            return _product(op, first, second, rules)
        sign = -1.0 if op.op_type == "Sub" else 1.0
        reference, rounded = (
            None if a is None or b is None else a + sign * b
            for a, b in (
                (first.reference, second.reference),
                (first.rounded, second.rounded),
            )
        )
        error = first.error + second.error
        norm = first.norm + second.norm
        if name in self.steps:
            inner, branch, lipschitz = self.steps[name]
            skip = first if op.inputs[0] is not None and op.inputs[0].name != branch else second
            through = self.layers[branch].norm * signals[inner].own + signals[branch].unlike
            norm = torch.minimum(norm, lipschitz * skip.norm + through)
        exact = Exact(reference, rounded, error, norm)
        return quantized(op.output, exact, rules, activation=op.activation)

    def _layer(self, op: QdqOp, source: Signal, rules: Rules) -> Signal:
        layer = self.layers[op.output.name]
        error, norm = layer.magnitudes(source.error), layer.norm * source.norm
        added = torch.zeros_like(norm)
        if layer.bias_step is not None:
            error = error + layer.bias_step
            added = l2(layer.bias_step.expand_as(error))
        reference, rounded = (
            None if x is None else layer(x) for x in (source.reference, source.rounded)
        )
        exact = Exact(reference, rounded, error, norm + added, added)
        return quantized(op.output, exact, rules, activation=op.activation)

    def _move(self, op: QdqOp, sources: Sequence[Signal], rules: Rules) -> Signal:
        move = self.moves[op.output.name]
        reference, rounded = (
            None if any(x is None for x in xs) else move.values([x for x in xs if x is not None])
            for xs in zip(*((each.reference, each.rounded) for each in sources), strict=True)
        )
        error = move.errors([source.error for source in sources])
        norm = torch.stack([source.norm for source in sources]).norm(dim=0) * move.repeats**0.5
        tensors = [each for each in op.inputs if isinstance(each, QdqTensor)]
        kept = all(same_grid(each.params, op.output.params) for each in tensors)
        return quantized(
            op.output,
            Exact(reference, rounded, error, norm),
            rules,
            activation=op.activation,
            lsb=0.0 if kept and not move.computes else None,
        )


def _product(op: QdqOp, first: Signal, second: Signal, rules: Rules) -> Signal:
    """A product of two tensors: ``|ab - a'b'| <= |a| e_b + |b| e_a + e_a e_b``."""
    sizes = [
        torch.full_like(s.error, _largest(each)) if s.reference is None else s.reference.abs()
        for s, each in zip((first, second), op.inputs, strict=True)
    ]
    error = sizes[0] * second.error + sizes[1] * first.error + first.error * second.error
    reference, rounded = (
        None if a is None or b is None else a * b
        for a, b in ((first.reference, second.reference), (first.rounded, second.rounded))
    )
    exact = Exact(reference, rounded, error, l2(error))
    return quantized(op.output, exact, rules, activation=op.activation)


def _largest(operand: object) -> float:
    if isinstance(operand, QdqTensor):
        zero = operand.zero_point
        return max(abs(operand.low - zero), abs(operand.high - zero)) * float(operand.scale)
    return 0.0  # a constant has a reference


def _signal(operand: object, signals: Mapping[str, Signal]) -> Signal | None:
    if isinstance(operand, QdqTensor):
        return signals[operand.name]
    if isinstance(operand, QdqConstant):
        # its rounding is part of the file, as that of weights is
        real = torch.from_numpy(operand.dequantized().astype("float64"))[None]
        nothing = torch.zeros_like(real)
        none = torch.zeros(1, dtype=torch.float64)
        return Signal(real, real, nothing, none, none, none)
    return None


def _present(op: QdqOp, operands: Sequence[Signal | None]) -> list[Signal]:
    found = [each for each in operands if each is not None]
    if not found:
        raise UsageError(f"{op.op_type} {op.name!r} reads nothing", hint="write the model again")
    return found
