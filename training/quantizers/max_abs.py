"""Weights up to their largest magnitude.

Nothing is clipped, and nothing is learned but the weights.

What integer runtimes ask of 8-bit weights, and what the papers leave in float (first and last
layers) is quantised with here; Krishnamoorthi, *Quantizing deep convolutional networks for
efficient inference* (2018), Sec. 2.2 and 3.1, per tensor or per output channel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeq.training.quantizers.parts.start import channels
from edgeq.training.quantizers.parts.straight_through import straight_through
from edgeq.training.quantizers.parts.uniform import SMALLEST_BOUND, UniformQuantizer


class MaxAbs(UniformQuantizer):
    """Signed and narrow.

    The bound is computed anew from each tensor, so the gradient passes to every weight.

    Args:
        bits: the width it is trained for.
        axis: the channel axis of a bound for each channel, else None.
    """

    def __init__(self, bits: int, *, axis: int | None = None) -> None:
        super().__init__(bits, signed=True, narrow_range=True, axis=axis)

    @torch.no_grad()
    def scale_of(self, x: Tensor) -> Tensor:
        """The largest magnitude over the levels; shape () or (channels,)."""
        largest = channels(x.abs(), self.axis).amax(1).float().clamp(min=SMALLEST_BOUND)
        return (largest[0] if self.axis is None else largest) / self.qmax

    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantise a weight; its dtype is kept."""
        if not self.rounding:
            return x
        with torch.no_grad():
            value = self.encode(x).value.to(x.dtype)
        return straight_through(value, x)


def for_weight(bits: int, weight: Tensor, *, axis: int | None, normalized: bool) -> MaxAbs:
    """For a weight, normalised or not; nothing is initialised."""
    del weight, normalized
    return MaxAbs(bits, axis=axis)
