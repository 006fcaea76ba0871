"""Weights and activations of one bit, with a scale for each filter.

Source: Rastegari, Ordonez, Redmon, Farhadi, *XNOR-Net: ImageNet classification using binary
convolutional neural networks* (2016), Sec. 3.1-3.2 and Algorithm 1. A filter is ``alpha * sign(W)``
with ``alpha`` its mean magnitude; an input is its sign, with the gradient passed where ``|x| < 1``;
the map K of magnitudes that the paper multiplies a convolution's output with is in
:mod:`edgeq.training.quantizers.binary.xnor_map`.

The paper puts BatchNorm, sign and convolution in this order, and leaves the first and the last
layer in float.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgeq.training.autograd import applied
from edgeq.training.quantizers.binary.sign import signs
from edgeq.training.quantizers.parts.fixed_width import FixedWidth
from edgeq.training.quantizers.parts.protocol import Encoded, along
from edgeq.training.quantizers.parts.start import channels
from edgeq.training.quantizers.parts.straight_through import straight_through
from edgeq.training.quantizers.parts.uniform import SMALLEST_BOUND, UniformGrid

SIGN_SCALE = 2.0**-8
"""Inputs within half of it of zero have no sign: of what BatchNorm gives, one in six hundred.

Were it much finer, the rounding of float32 sums would decide some signs. The factor that brings a
convolution's sums onto this grid would then exceed 256, the max of TensorFlow Lite's fast kernels.
"""


class _ScaledSigns(torch.autograd.Function):
    """``value``, with the gradient ``1 / n + alpha * [|W| < 1]`` of the paper's Sec. 3.1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, alpha: Tensor, count: int) -> Tensor:
        ctx.save_for_backward(x, alpha)
        ctx.count = count
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, alpha = ctx.saved_tensors
        return grads[0] * (1 / ctx.count + alpha * (x.abs() < 1)), None, None, None


class XnorWeights(FixedWidth):
    """``alpha * sign(W)`` for each output filter.

    Args:
        axis: of the output filters; None for one alpha for the tensor, which weights that are used
            both ways need.
        centered: as a third party's reimplementation does, bring each filter to zero mean over its
            input channels and clip it to [-1, 1] after each step of the optimiser; the paper says
            nothing of it.
    """

    def __init__(self, *, axis: int | None = 0, centered: bool = False) -> None:
        super().__init__(1, axis=axis)
        self.centered = centered

    def forward(self, x: Tensor) -> Tensor:
        """The binary weight, with the published gradient; without rounding, the real one."""
        if not self.rounding:
            return x
        with torch.no_grad():
            encoded = self.encode(x)
            value, alpha = encoded.value.to(x.dtype), along(encoded.scale, x, self.axis)
        return applied(_ScaledSigns, x, value, alpha, x.numel() // encoded.scale.numel())

    def encode(self, x: Tensor) -> Encoded:
        """The signs, with the scale alpha; shape () or (filters,)."""
        alpha = channels(x.detach().abs().float(), self.axis).mean(1).clamp(min=SMALLEST_BOUND)
        return Encoded(
            signs(x.detach()), alpha[0] if self.axis is None else alpha, -1, 1, self.axis
        )

    @torch.no_grad()
    def post_optimizer_step(self, weight: Tensor) -> None:
        """Centre and clip, if asked to.

        The one input channel of a depthwise filter would be nothing but its own mean.
        """
        inputs = 0 if self.axis == 1 else 1
        if self.centered and weight.shape[inputs] > 1:
            weight.sub_(weight.mean(inputs, keepdim=True)).clamp_(-1, 1)


class XnorSign(UniformGrid):
    """The sign of an activation, on the grid ``scale * {-1, 0, 1}``; behind a ReLU, ``{0, 1}``.

    ``QuantizeLinear`` has no sign, but rounding to a grid of a tiny scale and saturating at one of
    them is a sign for all inputs beyond half of it. What is within, zero among it, becomes 0: the
    third-party reimplementation's ``sign(0)`` too, where the paper's is +1. The layer that reads
    the grid divides by its amplitude, and so computes with -1, 0 and 1.

    Args:
        signed: whether there are negative values.
        scale: a power of two, so that dividing by it is exact.
    """

    def __init__(self, *, signed: bool = True, scale: float = SIGN_SCALE) -> None:
        super().__init__(1, signed=signed, narrow_range=True)
        self.amplitude = scale
        self.register_buffer("_scale", torch.tensor(scale), persistent=False)

    @property
    def scale(self) -> Tensor:
        """1 LSB in real units; shape ()."""
        return self.get_buffer("_scale")

    def qmax_at(self, bits: int) -> int:
        """One, whatever the width: there is nothing to anneal."""
        del bits
        return 1

    def forward(self, x: Tensor) -> Tensor:
        """The sign times the scale; without rounding, ``clip(x, -1, 1)`` times the scale.

        The gradient passes where ``|x| < 1``.
        """
        inside = (
            torch.where((x > self.qmin) & (x < 1), x, x.detach().clamp(self.qmin, 1))
            * self.amplitude
        )
        if not self.rounding:
            return inside
        with torch.no_grad():
            value = self.encode(x).value.to(x.dtype)
        return straight_through(value, inside)


def for_weight(bits: int, weight: Tensor, *, axis: int | None, normalized: bool) -> XnorWeights:
    """For a weight; nothing is initialised."""
    del bits, weight, normalized
    return XnorWeights(axis=axis)


def for_centered_weight(
    bits: int, weight: Tensor, *, axis: int | None, normalized: bool
) -> XnorWeights:
    """For a weight; nothing is initialised."""
    del bits, weight, normalized
    return XnorWeights(axis=axis, centered=True)


def for_activation(bits: int, *, signed: bool) -> XnorSign:
    """For an activation; the paper has it in front of each convolution, where no ReLU has been."""
    del bits
    return XnorSign(signed=signed)
