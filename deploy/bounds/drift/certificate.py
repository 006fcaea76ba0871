"""How far the answers of a deployed file can be from FP32, and which of them no kernel changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeq.data.batching import batches, fit
from edgeq.deploy.bounds.drift.signal import SLACK, Rules
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from edgeq.data import DataSource, Split
    from edgeq.deploy.bounds.drift.propagate import Propagation
    from edgeq.deploy.bounds.drift.signal import Signal
    from edgeq.target import Session

BATCH = 32
FLOAT32 = 2.0**-24  # the relative error of one rounding

CASES: Mapping[str, Rules] = {
    "FP32": Rules(),
    "FP32, clipped alike": Rules(clipped=True),
    "FP32, kernels that round to nearest": Rules(kernel_lsb=0.0),
}
"""What the file is held against, by the name that is shown."""


@dataclass(frozen=True, slots=True)
class TensorDrift:
    """One tensor.

    Attributes:
        tensor: its name.
        op_type: what makes it; empty for an input.
        bound: the greatest distance from the reference, in LSB of its grid.
        measured: the distance that rounding to nearest gives on the samples; None without data.
        norm_bound: the greatest l2 distance of a sample.
        norm_measured: likewise.
        step: whether it is the result of a residual step that was found not to expand errors beyond
            ``expands``.
        expands: the factor by which that step can make errors larger in l2; None for another
            operator.
    """

    tensor: str
    op_type: str
    bound: float
    measured: float | None
    norm_bound: float
    norm_measured: float | None
    expands: float | None


@dataclass(frozen=True, slots=True)
class Held:
    """What a runtime answered, held against a certificate.

    Attributes:
        target: its name.
        drift: the greatest distance of any of its logits from the reference.
        violations: samples with a logit beyond its bound.
        changed: samples whose answer was certified and is another one there.
    """

    target: str
    drift: float
    violations: int
    changed: int


@dataclass(frozen=True, slots=True)
class Certificate:
    """The answers of one file.

    Attributes:
        reference: what they are held against.
        kernel_lsb: how far a kernel may be from the nearest integer.
        bound: the greatest distance of any logit from the reference, on any of the samples.
        median_bound: the median over samples of the greatest one.
        measured: the greatest distance that rounding to nearest gives.
        certified: samples whose answer no such kernel can change.
        samples: how many there were; 0 where the bound holds for every input.
        tensors: each tensor of the file, in its order.
        held: what runtimes answered.
    """

    reference: str
    kernel_lsb: float
    bound: float
    median_bound: float | None
    measured: float | None
    certified: int
    samples: int
    tensors: tuple[TensorDrift, ...]
    held: tuple[Held, ...] = ()


def certify(
    propagation: Propagation,
    data: tuple[Split, DataSource] | None,
    case: str = "FP32",
    runtimes: Mapping[str, Session] | None = None,
) -> Certificate:
    """Bound the drift of a file's first output.

    Args:
        propagation: through the file's graph.
        data: samples and their source; None to hold for every input.
        case: of :data:`CASES`.
        runtimes: open sessions of the file, whose answers are held against the bound.

    Raises:
        ArtefactError: the samples have another shape.
        UsageError: there are several inputs.
    """
    rules, graph = CASES[case], propagation.graph
    if len(graph.inputs) != 1:
        raise UsageError(f"the file has {len(graph.inputs)} inputs", hint="a certificate takes one")
    collected = _Collected(propagation)
    if data is None:
        collected.add(propagation.run(None, rules))
        return collected.certificate(case, rules, samples=False)
    (tensor,), (spec,) = graph.inputs, graph.specs
    for images, _ in batches(*data, BATCH):
        real = torch.from_numpy(np.ascontiguousarray(fit(images, spec))).to(torch.float64)
        inputs = {tensor.name: real.reshape(len(real), *tensor.shape)}
        collected.add(propagation.run(inputs, rules))
        for name, session in (runtimes or {}).items():
            collected.hold(name, session.run(images))
    return collected.certificate(case, rules, samples=True)


def certified(logits: Tensor, error: Tensor, norm: Tensor) -> Tensor:
    """Which answers cannot change: (samples,), from logits and their errors, (samples, classes).

    The margin to each other class is held against the errors of both logits, or against what an
    error of that l2 norm can do to a difference of two numbers.
    """
    top = logits.argmax(1, keepdim=True)
    margin = logits.gather(1, top) - logits
    both = torch.minimum(error.gather(1, top) + error, 2**0.5 * norm[:, None])
    safe = margin > both
    return safe.scatter(1, top, value=True).all(1)


def exceeds(answers: Tensor, logits: Tensor, error: Tensor) -> Tensor:
    """Where a runtime is beyond the bound: bool of the shape of the logits.

    A runtime's answer is an integer times a scale as a float32, rounded once.

    Args:
        answers: the runtime's, float64.
        logits: those of FP32, float64.
        error: the bounds, float64.
    """
    return (answers - logits).abs() > error * (1 + SLACK) + answers.abs() * FLOAT32


class _Collected:
    """The greatest of everything over batches."""

    def __init__(self, propagation: Propagation) -> None:
        self.propagation, self.graph = propagation, propagation.graph
        self.worst: dict[str, list[float]] = {}
        self.bounds: list[Tensor] = []
        self.measured = 0.0
        self.certified = 0
        self.held: dict[str, Held] = {}
        self.answer: tuple[Tensor, Tensor, Tensor] | None = None

    def add(self, signals: Mapping[str, Signal]) -> None:
        """Take one batch in."""
        for name, signal in signals.items():
            apart = _apart(signal)
            now = [
                float(signal.error.max()),
                float("nan") if apart is None else float(apart.abs().max()),
                float(signal.norm.max()),
                float("nan") if apart is None else float(apart.flatten(1).norm(dim=1).max()),
            ]
            before = self.worst.get(name, now)
            self.worst[name] = [max(a, b) for a, b in zip(before, now, strict=True)]
        answer = self.propagation.answer(signals)
        error, apart = answer.error.flatten(1), _apart(answer)
        self.bounds.append(error.amax(1))
        if answer.reference is None or apart is None:
            return
        self.measured = max(self.measured, float(apart.abs().max()))
        logits = answer.reference.flatten(1)
        safe = certified(logits, error, answer.norm)
        if logits.shape[1] == 1:  # there is no class to choose
            safe = torch.zeros_like(safe)
        self.certified += int(safe.sum())
        self.answer = logits, error, safe

    def hold(self, target: str, outputs: NDArray[np.float32]) -> None:
        """Take in what a runtime answered to the same batch."""
        if self.answer is None:
            return
        logits, error, safe = self.answer
        there = torch.from_numpy(outputs.astype(np.float64)).reshape(len(logits), -1)
        before = self.held.get(target, Held(target, 0.0, 0, 0))
        if self.graph.epilogue == "argmax":  # no logit is seen, and no other answer may be
            changed = int((safe & (there[:, 0] != logits.argmax(1))).sum())
            beyond, drift = changed, 0.0
        else:
            apart = (there - logits).abs()
            changed = int((safe & (there.argmax(1) != logits.argmax(1))).sum())
            beyond, drift = int(exceeds(there, logits, error).any(1).sum()), float(apart.max())
        self.held[target] = Held(
            target,
            max(before.drift, drift),
            before.violations + beyond,
            before.changed + changed,
        )

    def certificate(self, case: str, rules: Rules, *, samples: bool) -> Certificate:
        """What was found."""
        bounds = torch.cat(self.bounds)
        steps = self.propagation.steps
        makers = {op.output.name: op.op_type for op in self.graph.operators}
        rows = tuple(
            TensorDrift(
                name,
                makers.get(name, ""),
                self.worst[name][0] / float(tensor.scale),
                self.worst[name][1] / float(tensor.scale) if samples else None,
                self.worst[name][2],
                self.worst[name][3] if samples else None,
                steps[name][2] if name in steps else None,
            )
            for name, tensor in self.graph.tensors().items()
        )
        return Certificate(
            case,
            rules.kernel_lsb,
            float(bounds.max()),
            float(bounds.median()) if samples else None,
            self.measured if samples else None,
            self.certified,
            len(bounds) if samples else 0,
            rows,
            tuple(self.held.values()),
        )


def _apart(signal: Signal) -> Tensor | None:
    """By how much rounding to nearest is off the reference; None where no reference is known."""
    if signal.rounded is None or signal.reference is None:
        return None
    return signal.rounded - signal.reference
