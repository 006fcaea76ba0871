"""Steps that are powers of two, from a threshold trained in the log domain.

Source: Jain, Gural, Wu, Dick, *Trained quantization thresholds for accurate and efficient
fixed-point inference of deep neural networks* (2019), Eqs. 3-8: ``s = 2^ceil(log2 t) / 2^(b-1)``
(unsigned: ``2^b``), the gradient of the ceiling being passed through.

The paper folds BatchNorm into the weights before it quantises them, so that every scale of the
network is a power of two. Here BatchNorm goes into the scale after it, which makes the exported
weight scales of a layer with BatchNorm any number; those of activations, and of layers without
BatchNorm, stay powers of two.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from edgeq.training.autograd import applied
from edgeq.training.quantizers.parts.fake_quant import in_units
from edgeq.training.quantizers.parts.first_batch import FirstBatch
from edgeq.training.quantizers.parts.protocol import along
from edgeq.training.quantizers.parts.start import spread
from edgeq.training.quantizers.parts.uniform import SMALLEST_BOUND, STORAGE_BITS

DEVIATIONS = 3.0  # the threshold starts at so many standard deviations, as published for weights


class _TrainedThreshold(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        log_threshold: Tensor,
        scale: Tensor,
        low: int,
        high: int,
        rounding: bool,
    ) -> Tensor:
        ctx.save_for_backward(x, log_threshold, scale)
        ctx.options = (low, high, rounding)
        clipped = in_units(x, scale).clamp_(low, high)
        return (clipped.round_() if rounding else clipped).mul_(scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, log_threshold, scale = ctx.saved_tensors
        low, high, rounding = ctx.options
        position = in_units(x, scale)
        level = position.round() if rounding else position
        inside = (level >= low) & (level <= high)
        error = torch.where(inside, level - position, level.clamp(low, high))
        by_log = (grads[0] * error * scale * math.log(2)).sum_to_size(log_threshold.shape)
        return grads[0] * inside, by_log, None, None, None, None


class PowerOfTwo(FirstBatch):
    """Jain et al.'s quantiser.

    Args:
        bits: the width it is trained for.
        signed: whether negative values are kept.
        narrow_range: leave out the lowest signed integer.
        threshold: the initial threshold in real units, shape () or (channels,); None for an
            activation, whose first training batch gives it.
        axis: the channel axis of a threshold for each channel, else None.
    """

    def __init__(
        self,
        bits: int,
        *,
        signed: bool,
        narrow_range: bool = False,
        threshold: Tensor | None = None,
        axis: int | None = None,
    ) -> None:
        super().__init__(
            bits,
            signed=signed,
            narrow_range=narrow_range,
            axis=axis,
            initialized=threshold is not None,
        )
        self.log_threshold = nn.Parameter(
            torch.zeros(()) if threshold is None else threshold.detach().log2()
        )

    @property
    @torch.no_grad()
    def scale(self) -> Tensor:
        """1 LSB in real units, a power of two; shape () or (channels,)."""
        exponent = self.log_threshold.clamp(min=math.log2(SMALLEST_BOUND)).ceil()
        return torch.exp2(exponent - (self.bits - 1 if self.signed else self.bits))

    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantise a tensor of any shape; its dtype is kept.

        The first training batch gives the threshold.
        """
        self.wait_for(x)
        scale, log_threshold = (
            along(value, x, self.axis) for value in (self.scale, self.log_threshold)
        )
        return applied(
            _TrainedThreshold, x, log_threshold, scale, self.qmin, self.qmax, self.rounding
        )

    def statistic(self, x: Tensor) -> Tensor:
        """The mean square."""
        return x.square().mean()

    def start_from(self, statistic: Tensor) -> None:
        """Three times the root mean square of the first batch.

        The paper calibrates by divergence before training.
        """
        self.log_threshold.copy_((DEVIATIONS * statistic.sqrt()).log2())


def for_weight(bits: int, weight: Tensor, *, axis: int | None, normalized: bool) -> PowerOfTwo:
    """For a weight, normalised or not.

    Narrow at 8 bits, where a BatchNorm of negative sign could not be folded else.
    """
    del normalized
    return PowerOfTwo(
        bits,
        signed=True,
        narrow_range=bits == STORAGE_BITS,
        threshold=DEVIATIONS * spread(weight, axis),
        axis=axis,
    )


def for_activation(bits: int, *, signed: bool) -> PowerOfTwo:
    """For an activation; the first training batch gives the threshold."""
    return PowerOfTwo(bits, signed=signed)
