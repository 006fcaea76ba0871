"""The uniform quantiser with a learned clipping bound, and its straight-through gradients.

Source: Ben-Yair, Eliasof, Treister, *Quantized convolutional neural networks through the lens of partial differential
equations*, Eqs. 17-19. In the paper ``x_q = alpha * round(clip(x / alpha) * P) / P``; here the same is computed as
``s * round(clip(x / s))`` with the step ``s = alpha / P``, operation for operation what QuantizeLinear and
DequantizeLinear do, so that an integer runtime meets the same float32 roundings.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edgeq.errors import EdgeqError
from edgeq.quant import QuantParams

SMALLEST_BOUND = 1e-6  # a bound may not reach zero, where the step would vanish


class _FakeQuant(torch.autograd.Function):
    """``s * round(clip(x / s, qmin, qmax))`` with the gradients of Eq. 19."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: Tensor, qmin: int, qmax: int, levels: int, rounding: bool) -> Tensor:
        step = bound / levels
        position = x / step
        ctx.save_for_backward(position)
        ctx.limits = (qmin, qmax, levels, rounding)
        clipped = position.clamp(qmin, qmax)
        return (clipped.round_() if rounding else clipped) * step

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        (position,) = ctx.saved_tensors
        qmin, qmax, levels, rounding = ctx.limits
        inside = (position > qmin) & (position < qmax)
        clipped = position.clamp(qmin, qmax)
        # d x_q / d alpha: the clipped level outside, the rounding error inside, both in units of the bound.
        error = (clipped.round() if rounding else clipped) - torch.where(inside, position, 0.0)
        return grad * inside, (grad * error).sum() / levels, None, None, None, None


class UniformQuantizer(nn.Module):
    """Clips to a bound and rounds to equally spaced levels; a subclass says where the bound comes from.

    Integers are 0..2^b-1 (unsigned), -(2^(b-1)-1)..2^(b-1)-1 (signed, narrow: weights) or -2^(b-1)..2^(b-1)-1 (signed: an
    activation that fills its carrier).

    Args:
        bits: the width it is trained for.
        signed: whether negative values are kept.
        narrow: leave out the lowest signed integer, as the paper does for weights.
    """

    alpha: Tensor

    def __init__(self, bits: int, *, signed: bool, narrow: bool = False) -> None:
        super().__init__()
        self.target_bits = bits
        self.bits = bits  # annealing starts above the target
        self.signed = signed
        self.narrow = narrow
        self.rounding = True

    @property
    def levels(self) -> int:
        """P of the paper: the integer that the bound maps to."""
        return int(2 ** (self.bits - 1) - 1 if self.signed else 2**self.bits - 1)

    @property
    def qmin(self) -> int:
        """The least integer."""
        return (-self.levels if self.narrow else -self.levels - 1) if self.signed else 0

    @property
    def bound(self) -> Tensor:
        """The clipping bound, kept away from zero; shape ()."""
        return self.alpha.clamp(min=SMALLEST_BOUND)

    @property
    def step(self) -> Tensor:
        """1 LSB in real units; shape ()."""
        return self.bound / self.levels

    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantise a tensor of any shape, float32 to float32."""
        out: Tensor = _FakeQuant.apply(x, self.bound, self.qmin, self.levels, self.levels, self.rounding)  # type: ignore[no-untyped-call]
        return out

    def integers(self, x: Tensor) -> Tensor:
        """The integers of ``x`` on the grid, as floats."""
        return (x / self.step).clamp(self.qmin, self.levels).round()

    def quant_params(self) -> QuantParams:
        """The grid in its canonical carrier: uint8, zero point 0 (unsigned) or 128 (signed)."""
        if self.bits > 8:
            raise EdgeqError(f"a quantiser is still at {self.bits} bits", mend="set the target widths before export")
        zero = 128 if self.signed else 0
        return QuantParams.of(self.step.item(), zero, "uint8", self.qmin + zero, self.levels + zero)

    def extra_repr(self) -> str:
        """Width and sign, for ``print(model)``."""
        return f"bits={self.bits}, {'signed' if self.signed else 'unsigned'}, alpha={self.alpha.item():.4g}"


class LearnedClip(UniformQuantizer):
    """The published quantiser: the bound is a parameter, trained with the weights (Eq. 19).

    Args:
        bits: the width it is trained for.
        signed: whether negative values are kept.
        narrow: leave out the lowest signed integer, as the paper does for weights.
        bound: the initial bound alpha, in real units.
    """

    def __init__(self, bits: int, *, signed: bool, narrow: bool = False, bound: float) -> None:
        super().__init__(bits, signed=signed, narrow=narrow)
        self.alpha = nn.Parameter(torch.tensor(float(bound)))
