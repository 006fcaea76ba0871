"""Weights of two bits as the authors of learned clipping released them.

Three levels, and a gradient for every weight.

Source: Ben-Yair, Eliasof, Treister, *Quantized convolutional neural networks through the lens of
partial differential equations*; its code treats widths of two bits and less like Li, Dong, Wang,
*Additive powers-of-two quantization* (2020): the values are those of Eq. 17,
``alpha * round(clip(w / alpha, -1, 1))``, but a weight beyond the bound still gets its gradient,
for with three levels a third of them may be there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.training.quantizers.learned_clip import LearnedClip, weight_bound
from edgeq.training.quantizers.parts.fake_quant import fake_quantize
from edgeq.training.quantizers.parts.protocol import along
from edgeq.training.quantizers.parts.straight_through import straight_through

if TYPE_CHECKING:
    from torch import Tensor


class Ternary(LearnedClip):
    """A learned clip whose gradient passes to clipped weights too."""

    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantise a weight; its dtype is kept."""
        scale = along(self.scale, x, self.axis)
        return straight_through(
            fake_quantize(x.detach(), scale, self.qmin, self.qmax, rounding=self.rounding), x
        )


def for_weight(bits: int, weight: Tensor, *, axis: int | None, normalized: bool) -> Ternary:
    """For a weight, normalised or not; the bound starts where that of a learned clip does."""
    return Ternary(
        bits,
        signed=True,
        narrow_range=True,
        bound=weight_bound(weight, axis, normalized=normalized),
        axis=axis,
    )
