"""Parameterised clipping of activations.

Source: Choi, Wang, Venkataramani, Chuang, Srinivasan, Gopalakrishnan, *PACT: parameterized clipping
activation for quantized neural networks* (2018), Eqs. 1-3. The bound learns from what it clips
alone: rounding leaves no trace in its gradient. The loss gets ``lambda alpha^2`` beside it, so that
the bound comes down; weight decay on the bound is the same with twice the factor.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeq.training.quantizers.parts.straight_through import straight_through
from edgeq.training.quantizers.parts.uniform import SMALLEST_BOUND, UniformGrid

PUBLISHED_BOUND = 10.0


class Pact(UniformGrid):
    """Clips to 0..alpha and rounds.

    Args:
        bits: the width it is trained for.
        bound: the initial bound alpha, in real units.
    """

    def __init__(self, bits: int, *, bound: float = PUBLISHED_BOUND) -> None:
        super().__init__(bits, signed=False)
        self.alpha = nn.Parameter(torch.tensor(float(bound)))

    @property
    def scale(self) -> Tensor:
        """1 LSB in real units; shape ()."""
        return self._bound / self.qmax

    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantise a tensor of any shape; its dtype is kept.

        The gradient is that of Eq. 1, the clipping.
        """
        clipped = torch.where(x >= self._bound, self._bound, x.relu()).to(x.dtype)
        if not self.rounding:
            return clipped
        with torch.no_grad():
            value = self.encode(x).value.to(x.dtype)
        return straight_through(value, clipped)

    def penalty(self) -> Tensor:
        """``alpha^2``, to be weighted with lambda and added to the loss.

        The paper takes the weights' decay for lambda.
        """
        return self.alpha.square()

    @property
    def _bound(self) -> Tensor:
        return self.alpha.clamp(min=SMALLEST_BOUND)


def for_activation(bits: int, *, signed: bool) -> Pact:
    """For an activation behind a ReLU."""
    del signed
    return Pact(bits)
