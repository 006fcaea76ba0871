"""Fake quantisation: onto an integer grid and back in float32, with straight-through gradients.

The forward pass is, operation for operation, QuantizeLinear followed by DequantizeLinear, so that
an integer runtime meets the same float32 roundings. The gradient by the step is the one of Esser et
al., *Learned step size quantization* (2020), Eq. 3, without their scaling; with the step
``alpha / P`` the chain rule makes of it Eq. 19 of Ben-Yair, Eliasof, Treister, *Quantized
convolutional neural networks through the lens of partial differential equations*.

What it costs is passes over memory, and fresh memory most of all. So one new tensor is made
forwards, and what is kept for the way back is the input, which the operator before it most often
keeps anyway. Backwards, masks of bool and ``where`` take most of the time; ``hardtanh_backward`` is
the same in one pass. PyTorch's own fused fake quantisers are left aside: they multiply by the
reciprocal of the step, which lands on the other side of some ties than the division of
QuantizeLinear does, their gradient passes half a step beyond the range, and on a CPU they are
slower than these separate passes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _FakeQuant(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, step: Tensor, low: float, high: float, rounding: bool
    ) -> Tensor:
        ctx.save_for_backward(x, step)
        ctx.options = (low, high, rounding)
        clipped = in_steps(x, step).clamp_(low, high)
        return (clipped.round_() if rounding else clipped).mul_(step).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, step = ctx.saved_tensors
        low, high, rounding = ctx.options
        position = in_steps(x, step)
        grad = grads[0].to(position.dtype)
        inside = torch.ops.aten.hardtanh_backward(grad, position, low, high)
        by_step = (
            _by_step(grad, inside, position.clamp_(low, high), rounding, step.shape)
            if ctx.needs_input_grad[1]
            else None
        )
        return inside.to(x.dtype), by_step, None, None, None


def in_steps(x: Tensor, step: Tensor) -> Tensor:
    """``x`` in steps, a new tensor, at least as precise as the step."""
    return x.to(torch.promote_types(x.dtype, step.dtype)) / step


def _by_step(
    grad: Tensor, inside: Tensor, clipped: Tensor, rounding: bool, shape: torch.Size
) -> Tensor:
    """The gradient by the step.

    Each element's by its rounding error inside, by its clipped level outside.
    """
    level = clipped.round() if rounding else clipped
    outside = (grad - inside).mul_(level).sum_to_size(shape)
    # Not into memory that is at hand by out=, on which torch.compile breaks the graph where the
    # channels are last.
    return outside + level.sub_(clipped).mul_(inside).sum_to_size(shape) if rounding else outside


def fake_quantize(
    x: Tensor, step: Tensor, low: float, high: float, *, rounding: bool = True
) -> Tensor:
    """``step * round(clip(x / step, low, high))``, in the step's float32 where ``x`` is shorter.

    Args:
        x: of any shape.
        step: 1 LSB in real units, float32, of a shape that broadcasts with ``x``.
        low: the least integer, relative to the one that stands for zero.
        high: the greatest.
        rounding: false only clips.

    Returns:
        Of the shape and dtype of ``x``. Its gradient passes where ``x`` is strictly inside the
        range.
    """
    out: Tensor = _FakeQuant.apply(x, step, low, high, rounding)  # type: ignore[no-untyped-call]
    return out
