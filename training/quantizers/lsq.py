"""Learned step size quantisation.

Source: Esser, McKinstry, Bablani, Appuswamy, Modha, *Learned step size quantization* (2020), Eqs.
1-5 and Sec. 2.2: the scale is a parameter with the gradient of the rounding error, scaled down by
``1 / sqrt(N Q_P)`` so that it moves at the pace of the weights, and starts at
``2 mean|v| / sqrt(Q_P)``.

Signed integers run from ``-2^(b-1)`` to ``2^(b-1) - 1``, as published, but for 8-bit weights:
folding a BatchNorm whose factor is negative turns the sign of the integers, and 128 is no int8. At
8 bits the lowest one is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeq.training.quantizers.parts.first_batch import FirstBatch
from edgeq.training.quantizers.parts.start import magnitude
from edgeq.training.quantizers.parts.straight_through import scale_gradient
from edgeq.training.quantizers.parts.uniform import SMALLEST_BOUND, STORAGE_BITS


class Lsq(FirstBatch):
    """Esser et al.'s quantiser; while the width is annealed, its range stays the same.

    Args:
        bits: the width it is trained for.
        signed: whether negative values are kept.
        narrow_range: leave out the lowest signed integer.
        start: the initial scale in real units, shape () or (channels,); None for an activation,
            whose first training batch gives it.
        axis: the channel axis of a scale for each channel, else None.
    """

    def __init__(
        self,
        bits: int,
        *,
        signed: bool,
        narrow_range: bool = False,
        start: Tensor | None = None,
        axis: int | None = None,
    ) -> None:
        super().__init__(
            bits, signed=signed, narrow_range=narrow_range, axis=axis, initialized=start is not None
        )
        self.of_weights = start is not None
        self.target_scale = nn.Parameter(
            torch.ones(()) if start is None else start.detach().clone()
        )

    @property
    def scale(self) -> Tensor:
        """1 LSB in real units; shape () or (channels,)."""
        most = self.qmax_at(self.target_bits)
        return self.target_scale.clamp(min=SMALLEST_BOUND / most) * (most / self.qmax)

    def scale_of(self, x: Tensor) -> Tensor:
        """The scale, its gradient scaled as published.

        N is the weights of a scale, or the features of a sample.
        """
        count = x.numel() / self.target_scale.numel() if self.of_weights else x[:1].numel()
        return scale_gradient(self.scale, (max(count, 1) * self.qmax) ** -0.5)

    def statistic(self, x: Tensor) -> Tensor:
        """The mean magnitude."""
        return x.abs().mean()

    def start_from(self, statistic: Tensor) -> None:
        """Sec. 2.2, from the first batch of activations."""
        self.target_scale.copy_(2 * statistic / self.qmax_at(self.target_bits) ** 0.5)


def for_weight(bits: int, weight: Tensor, *, axis: int | None, normalized: bool) -> Lsq:
    """For a weight, normalised or not; the initial scale comes from it (Sec. 2.2)."""
    del normalized
    most = 2 ** (bits - 1) - 1
    start = 2 * magnitude(weight, axis) / most**0.5
    return Lsq(bits, signed=True, narrow_range=bits == STORAGE_BITS, start=start, axis=axis)


def for_activation(bits: int, *, signed: bool) -> Lsq:
    """For an activation; the first training batch gives the scale."""
    return Lsq(bits, signed=signed)
