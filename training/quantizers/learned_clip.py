"""The uniform quantiser with a learned clipping bound.

Source: Ben-Yair, Eliasof, Treister, *Quantized convolutional neural networks through the lens of partial differential
equations*, Eqs. 17-19. In the paper ``x_q = alpha * round(clip(x / alpha) * P) / P``; here the same is computed as
``s * round(clip(x / s))`` with the step ``s = alpha / P``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeq.training.quantizers.uniform import SMALLEST_BOUND, UniformQuantizer


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

    @property
    def step(self) -> Tensor:
        """1 LSB in real units; shape ()."""
        return self.alpha.clamp(min=SMALLEST_BOUND) / self.levels
