"""Fake quantisation: onto an integer grid and back in float32, with straight-through gradients.

The forward pass is, operation for operation, QuantizeLinear followed by DequantizeLinear, so that
an integer runtime meets the same float32 roundings. The gradient by the scale is that of Esser et
al., *Learned step size quantization* (2020), Eq. 3, without their scaling; with the scale
``alpha / P`` the chain rule makes of it Eq. 19 of Ben-Yair, Eliasof, Treister, *Quantized
convolutional neural networks through the lens of partial differential equations*.

What it costs is passes over memory, and fresh memory most of all. So one new tensor is made
forwards, and what is kept for the way back is the input, which the operator before it most often
keeps anyway. Backwards, masks of bool and ``where`` take most of the time; ``hardtanh_backward`` is
the same in one pass. PyTorch's own fused fake quantisers are left aside: they multiply by the
reciprocal of the scale, which lands on the other side of some ties than the division of
QuantizeLinear does, their gradient passes half an LSB beyond the range, and on a CPU they are
slower than these separate passes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgeq.training.autograd import applied


class _FakeQuant(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, low: float, high: float, rounding: bool
    ) -> Tensor:
        ctx.save_for_backward(x, scale)
        ctx.options = (low, high, rounding)
        clipped = in_units(x, scale).clamp_(low, high)
        return (clipped.round_() if rounding else clipped).mul_(scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, scale = ctx.saved_tensors
        low, high, rounding = ctx.options
        position = in_units(x, scale)
        grad = grads[0].to(position.dtype)
        inside = torch.ops.aten.hardtanh_backward(grad, position, low, high)
        by_scale = (
            _by_scale(grad, inside, position.clamp_(low, high), rounding, scale.shape)
            if ctx.needs_input_grad[1]
            else None
        )
        return inside.to(x.dtype), by_scale, None, None, None


def in_units(x: Tensor, scale: Tensor) -> Tensor:
    """``x`` in units of the scale, a new tensor, at least as precise as the scale."""
    return x.to(torch.promote_types(x.dtype, scale.dtype)) / scale


def _by_scale(
    grad: Tensor, inside: Tensor, clipped: Tensor, rounding: bool, shape: torch.Size
) -> Tensor:
    """The gradient by the scale.

    Each element's by its rounding error inside, by its clipped level outside.
    """
    level = clipped.round() if rounding else clipped
    outside = (grad - inside).mul_(level).sum_to_size(shape)
    # Not into memory that is at hand by out=, on which torch.compile breaks the graph where the
    # channels are last.
    return outside + level.sub_(clipped).mul_(inside).sum_to_size(shape) if rounding else outside


def fake_quantize(
    x: Tensor, scale: Tensor, low: float, high: float, *, rounding: bool = True
) -> Tensor:
    """``scale * round(clip(x / scale, low, high))``, in the scale's float32 where ``x`` is shorter.

    Args:
        x: of any shape.
        scale: 1 LSB in real units, float32, of a shape that broadcasts with ``x``.
        low: the smallest integer, relative to the one that stands for zero.
        high: the largest.
        rounding: false only clips.

    Returns:
        Of the shape and dtype of ``x``. Its gradient passes where ``x`` is strictly inside the
        range.
    """
    return applied(_FakeQuant, x, scale, low, high, rounding)
