"""Fake quantisation: onto an integer grid and back in float32, with straight-through gradients.

The forward pass is, operation for operation, QuantizeLinear followed by DequantizeLinear, so that an integer runtime meets the
same float32 roundings. The gradient by the step is the one of Esser et al., *Learned step size quantization* (2020), Eq. 3,
without their scaling; with the step ``alpha / P`` the chain rule makes of it Eq. 19 of Ben-Yair, Eliasof, Treister,
*Quantized convolutional neural networks through the lens of partial differential equations*.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _FakeQuant(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, low: float, high: float, rounding: bool) -> Tensor:
        position = x.to(torch.promote_types(x.dtype, step.dtype)) / step
        ctx.save_for_backward(position, step)
        ctx.options = (low, high, rounding)
        clipped = position.clamp(low, high)
        return ((clipped.round_() if rounding else clipped) * step).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        position, step = ctx.saved_tensors
        low, high, rounding = ctx.options
        inside = (position > low) & (position < high)
        clipped = position.clamp(low, high)
        # d x_q / d step: the clipped level outside, the rounding error inside.
        error = (clipped.round() if rounding else clipped) - torch.where(inside, position, 0.0)
        return grad * inside, (grad * error).sum_to_size(step.shape), None, None, None


def fake_quantize(x: Tensor, step: Tensor, low: float, high: float, *, rounding: bool = True) -> Tensor:
    """``step * round(clip(x / step, low, high))``, computed in the step's float32 where ``x`` has a shorter type.

    Args:
        x: of any shape.
        step: 1 LSB in real units, float32, of a shape that broadcasts with ``x``.
        low: the least integer, relative to the one that stands for zero.
        high: the greatest.
        rounding: false only clips.

    Returns:
        Of the shape and dtype of ``x``. Its gradient passes where ``x`` is strictly inside the range.
    """
    out: Tensor = _FakeQuant.apply(x, step, low, high, rounding)  # type: ignore[no-untyped-call]
    return out
