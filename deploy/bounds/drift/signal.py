"""A tensor of the deployed file beside the real numbers that it stands for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from edgeq.brief import brief

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from edgeq.qdq.ir import QdqTensor

SLACK = 1e-9
"""Relative; far more than float64 loses in any of the sums."""
OWN_ROUNDING = 0.5 + 2.0**-10
"""LSB that a quantiser of float32 inputs can be off: half a step, and the division's rounding."""

FLOAT_FUNCTION = 2.0**-18
"""Relative to the largest result; what a softmax in float32 may be off on any runtime."""


@dataclass(frozen=True, slots=True, eq=False)
class Signal:
    """What is known of one tensor, sample by sample.

    Attributes:
        reference: the real numbers, (samples, *shape), float64; None where nothing is known of the
            input, and then all else holds for every input, with one sample.
        rounded: the deployed numbers where every operator rounds to nearest; None likewise.
        error: the greatest distance of any deployed number from the reference, (samples, *shape).
        norm: the greatest l2 distance, (samples,).
        own: the part of ``norm`` that arises at this tensor's own quantiser, (samples,).
        unlike: the l2 distance between what the quantiser does to the difference and nothing at
            all, rounding and both clippings, (samples,); infinite where that is not known.
    """

    reference: Tensor | None
    rounded: Tensor | None
    error: Tensor
    norm: Tensor
    own: Tensor
    unlike: Tensor

    __repr__ = brief


@dataclass(frozen=True, slots=True)
class Rules:
    """What kernels may do, and what the deployed numbers are held against.

    Attributes:
        kernel_lsb: how far a kernel may be from the nearest integer; 1 for a conforming kernel, 0
            for one that rounds to nearest.
        clipped: whether the reference is clipped to the range of each grid, as the file is, or only
            by the ReLUs of the network.
    """

    kernel_lsb: float = 1.0
    clipped: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Exact:
    """The exact result of an operator on deployed numbers, before its quantiser.

    Attributes:
        reference: real numbers; None where the input is not known.
        rounded: deployed ones; None likewise.
        error: the greatest distance between the two.
        norm: the same in l2, (samples,).
        added: the part of ``norm`` that arises in the operator itself, such as in its bias,
            (samples,); None for nothing.
    """

    reference: Tensor | None
    rounded: Tensor | None
    error: Tensor
    norm: Tensor
    added: Tensor | None = None

    __repr__ = brief


def both(
    values: Callable[[Sequence[Tensor]], Tensor], sources: Sequence[Signal]
) -> tuple[Tensor | None, Tensor | None]:
    """The result of real numbers and that of deployed ones; None where an operand is not known."""
    references = [each.reference for each in sources if each.reference is not None]
    rounded = [each.rounded for each in sources if each.rounded is not None]
    whole = len(sources)
    return (
        values(references) if len(references) == whole else None,
        values(rounded) if len(rounded) == whole else None,
    )


def l2(x: Tensor) -> Tensor:
    """The l2 norm of each sample, (samples,)."""
    found: Tensor = x.flatten(1).norm(dim=1)
    return found


def quantized(
    tensor: QdqTensor,
    exact: Exact,
    rules: Rules,
    *,
    activation: str = "",
    lsb: float | None = None,
) -> Signal:
    """What becomes of numbers and their errors behind a quantiser.

    A kernel's result is the exact one, moved by at most ``lsb`` steps, in the range of the grid.

    Args:
        tensor: the result.
        exact: what stands before the quantiser.
        rules: of kernels and of the reference.
        activation: of the network, before the quantiser: ``relu``, ``relu6`` or empty.
        lsb: how far a result may be from the exact one; half a step and what a kernel may add where
            it is None; 0 where integers only move.
    """
    step = float(tensor.scale)
    low, high = ((end - tensor.zero_point) * step for end in (tensor.low, tensor.high))
    moved = step * (0.5 + rules.kernel_lsb if lsb is None else lsb)
    error, norm = exact.error * (1 + SLACK), exact.norm * (1 + SLACK)
    extra = torch.zeros_like(norm) if exact.added is None else exact.added
    everywhere = moved * math.sqrt(error[0].numel())
    reach, reference = error + moved, exact.reference
    if reference is None:
        # the reference is in the range as well, so nothing can be further away than its ends
        found = reach.clamp(max=high - low)
        norm = torch.minimum(norm + everywhere, l2(found))
        error = torch.minimum(found, _spread(norm, found))
        unknown = torch.full_like(norm, math.inf)
        return Signal(None, None, error, norm, extra + everywhere, unknown)
    acted = _acted(reference, activation, low, high, clipped=rules.clipped)
    most, least = (reference + reach).clamp(low, high), (reference - reach).clamp(low, high)
    found = torch.maximum((most - acted).abs(), (acted - least).abs())
    active = ((reference + reach > low) & (reference - reach < high)).flatten(1).sum(1)
    beyond = l2(reference.clamp(low, high) - acted)
    local = moved * active.to(torch.float64).sqrt() + beyond
    norm = torch.minimum(norm + local, l2(found))
    cut = torch.maximum(reference + reach - high, low - reference + reach).clamp(min=0.0)
    unlike = extra + everywhere + l2(cut) + l2(acted - reference)
    error = torch.minimum(found, _spread(norm, found))
    nearest = _nearest(exact.rounded, step if moved else 0.0, low, high)
    return Signal(acted, nearest, error, norm, extra + local, unlike)


def _nearest(x: Tensor | None, step: float, low: float, high: float) -> Tensor | None:
    """Rounded to multiples of a step, where it is above zero, and clipped."""
    if x is None:
        return None
    return ((x / step).round() * step if step else x).clamp(low, high)


def _spread(norm: Tensor, like: Tensor) -> Tensor:
    return norm.reshape(-1, *[1] * (like.ndim - 1))


def _acted(x: Tensor, activation: str, low: float, high: float, *, clipped: bool) -> Tensor:
    if clipped:
        return x.clamp(low, high)
    if activation == "relu":
        return x.clamp(min=0.0)
    return x.clamp(0.0, 6.0) if activation == "relu6" else x
