"""A learned bound that starts where it rounds the first batch best, for trained networks.

It learns at the pace of Esser, McKinstry, Bablani, Appuswamy, Modha, *Learned step size
quantization* (2020), Sec. 2.2, and starts at the smallest squared error, as in Bhalgat, Lee, Nagel,
Blankevoort, Kwak, *LSQ+: improving low-bit quantization through learnable offsets and better
initialization* (2020), Sec. 3.2. The parameter is the bound and not the scale: with plain SGD that
is the same, and an optimiser whose steps have one size for all parameters, such as Adam, moves a
bound of one by a thousandth where a scale of a thousandth would be gone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeq.training import distributed_stats
from edgeq.training.quantizers.learned_clip import LearnedClip
from edgeq.training.quantizers.parts.straight_through import scale_gradient
from edgeq.training.quantizers.parts.uniform import SMALLEST_BOUND

_SHARES = tuple(share / 20 for share in range(20, 3, -1))  # of the bound that clips nothing


class Fitted(LearnedClip):
    """Its bound is zero until the first training batch that says something.

    Finite, and not all zeros.

    Args:
        bits: the width it is trained for.
        signed: whether negative values are kept.
    """

    def __init__(self, bits: int, *, signed: bool) -> None:
        super().__init__(bits, signed=signed, bound=0.0)

    @property
    def waits(self) -> bool:
        """Whether that batch is still to come."""
        return not bool(self.alpha)

    def scale_of(self, x: Tensor) -> Tensor:
        """The scale; its gradient moves the bound as LSQ's does. N is the features of a sample.

        At the pace of the target width while training is at more bits, where it would be thousands
        of times as fast.
        """
        most = self.qmax_at(self.target_bits)
        pace = (max(x[:1].numel(), 1) * most) ** -0.5
        return scale_gradient(self.scale, pace * most**2)

    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantise; the first training batch gives the bound."""
        if self.training and self.waits:
            found = self._best_bound(x.detach().float())
            if found.isfinite() and found > 0:
                self.alpha.data.copy_(found)
        return super().forward(x)

    @torch.no_grad()
    def _best_bound(self, x: Tensor) -> Tensor:
        """Of a few bounds, the one with the smallest squared rounding error at the target width."""
        most = self.qmax_at(self.target_bits)
        low = -most - 1 if self.signed else 0
        largest = distributed_stats.largest(
            torch.maximum(x.amax(), -x.amin()) if self.signed else x.amax()
        )
        bounds = torch.stack([largest.clamp(min=SMALLEST_BOUND) * share for share in _SHARES])
        scales = bounds / most
        errors = torch.stack(
            [
                ((x / scale).clamp_(low, most).round_().mul_(scale).sub_(x)).square_().sum()
                for scale in scales
            ]
        )
        return torch.where(largest > 0, bounds[distributed_stats.mean(errors).argmin()], 0.0)


def for_activation(bits: int, *, signed: bool) -> Fitted:
    """For an activation; the first training batch gives the bound."""
    return Fitted(bits, signed=signed)
