"""The uniform quantiser with a learned clipping bound.

Source: Ben-Yair, Eliasof, Treister, *Quantized convolutional neural networks through the lens of
partial differential equations*, Eqs. 17-19. In the paper
``x_q = alpha * round(clip(x / alpha) * P) / P``; here the same is computed as
``s * round(clip(x / s))`` with the scale ``s = alpha / P``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeq.training.quantizers.parts.start import spread
from edgeq.training.quantizers.parts.uniform import SMALLEST_BOUND, UniformGrid

# published initial bounds: of weights in units of their standard deviation, and of activations
# behind a ReLU
WEIGHT_BOUND = 3.0
ACTIVATION_BOUND = 6.0


class LearnedClip(UniformGrid):
    """The published quantiser: the bound is a parameter, trained with the weights (Eq. 19).

    Args:
        bits: the width it is trained for.
        signed: whether negative values are kept.
        narrow_range: leave out the lowest signed integer, as the paper does for weights.
        bound: the initial bound alpha, in real units; shape () or, with an axis, (channels,).
        axis: the channel axis of a bound for each channel, else None.
    """

    def __init__(
        self,
        bits: int,
        *,
        signed: bool,
        narrow_range: bool = False,
        bound: float | Tensor,
        axis: int | None = None,
    ) -> None:
        super().__init__(bits, signed=signed, narrow_range=narrow_range, axis=axis)
        self.alpha = nn.Parameter(torch.as_tensor(bound, dtype=torch.float32).detach().clone())

    @property
    def scale(self) -> Tensor:
        """1 LSB in real units; shape () or (channels,)."""
        return self.alpha.clamp(min=SMALLEST_BOUND) / self.qmax


def weight_bound(weight: Tensor, axis: int | None, *, normalized: bool) -> float | Tensor:
    """The first bound of a weight.

    Three standard deviations, which for normalised weights is the published 3.0.
    """
    return WEIGHT_BOUND if normalized and axis is None else WEIGHT_BOUND * spread(weight, axis)


def for_weight(bits: int, weight: Tensor, *, axis: int | None, normalized: bool) -> LearnedClip:
    """For a weight, normalised or not; the bound starts at :func:`weight_bound`."""
    return LearnedClip(
        bits,
        signed=True,
        narrow_range=True,
        bound=weight_bound(weight, axis, normalized=normalized),
        axis=axis,
    )


def for_activation(bits: int, *, signed: bool) -> LearnedClip:
    """For an activation: 6.0 wide, as published.

    The sign is ours, as the paper asks for in its footnote 1.
    """
    return LearnedClip(bits, signed=signed, bound=ACTIVATION_BOUND)
