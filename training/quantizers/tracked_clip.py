"""A uniform quantiser whose bound follows the max magnitude, for what papers leave in float.

An 8-bit edge (input, residual branch, pooling, first and last layer) has levels to spare and little
to gain from clipping, while the step of SGD that suits a bound of 6.0 overshoots one of 0.1. So its
bound is observed and not trained, as observers of quantisation-aware training commonly are (Jacob
et al., *Quantization and training of neural networks for efficient integer-arithmetic-only
inference*, 2018, Sec. 3.1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeq.training import distributed_stats
from edgeq.training.quantizers.parts.straight_through import straight_through
from edgeq.training.quantizers.parts.uniform import SMALLEST_BOUND, UniformGrid


class TrackedClip(UniformGrid):
    """The bound rises at once to the max magnitude of a batch and decays slowly to smaller ones.

    Args:
        bits: the width it is trained for.
        signed: whether negative values are kept.
        narrow_range: leave out the lowest signed integer.
        bound: the initial bound, in real units; zero for one that training will find.
        decay: the share of the way down to a smaller maximum that each training batch takes.
    """

    alpha: Tensor

    def __init__(
        self,
        bits: int,
        *,
        signed: bool,
        narrow_range: bool = False,
        bound: float = 0.0,
        decay: float = 0.01,
    ) -> None:
        super().__init__(bits, signed=signed, narrow_range=narrow_range)
        self.decay = decay
        self.least = SMALLEST_BOUND  # what integer kernels of the operator in front can write
        # of a reciprocal, the grid of what it is taken of: no submodule, which this would own
        self.divisor: tuple[UniformGrid, ...] = ()
        self.register_buffer("alpha", torch.tensor(float(bound)))

    @property
    def scale(self) -> Tensor:
        """1 LSB in real units; shape ()."""
        alpha = self.alpha.clamp(min=self.least)
        for grid in self.divisor:  # below one step there is only zero, whose reciprocal is no bound
            alpha = alpha.minimum(1 / grid.scale)
        return alpha / self.qmax

    @property
    def waits(self) -> bool:
        """Whether the first batch that says something is still to come."""
        return not bool(self.alpha)

    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantise; in training, follow the batch first, which then lies within the bound.

        Its gradient passes as it is.
        """
        if not self.training:
            return super().forward(x)
        with torch.no_grad():
            # Not aminmax or max, which are many times slower where the channels are last.
            largest = distributed_stats.largest(
                torch.maximum(-x.amin(), x.amax()).to(self.alpha.dtype)
            )
            self.alpha.copy_(torch.maximum(largest, self.alpha.lerp(largest, self.decay)))
            value = super().forward(x)
        return straight_through(value, x)


def for_activation(bits: int, *, signed: bool) -> TrackedClip:
    """For an activation; the first training batch gives the bound."""
    return TrackedClip(bits, signed=signed)
