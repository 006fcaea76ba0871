"""Weights of one bit, by their sign or at random, over real weights that collect gradients.

Source: Courbariaux, Bengio, David, *BinaryConnect: training deep neural networks with binary
weights during propagations* (2015), Eqs. 1-3 and Algorithm 1: the gradient taken at the binary
weight is applied to the real one, which is clipped to [-H, H] after each step of the optimiser. The
released code knows H = 1, with weights drawn from the whole range and a learning rate divided by
Glorot's coefficient, and H = that coefficient, which under Adam is the same movement against the
range. The catalogue builds the latter, which fits weights as PyTorch initialises them: to a coin
for H = 1, weights of a few hundredths are all the same, and nothing is learned.

In evaluation the weights are binary and deterministic, the paper's first method of testing. Its
second, real weights, which it prefers for those trained by coin, is what
:func:`edgeq.training.qat_transform.set_rounding` gives with ``weights=False``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeq.training.quantizers.binary.sign import signs
from edgeq.training.quantizers.parts.fixed_width import FixedWidth
from edgeq.training.quantizers.parts.protocol import Encoded
from edgeq.training.quantizers.parts.straight_through import straight_through


class BinaryConnect(FixedWidth):
    """Binary by sign.

    Args:
        scale: H, in real units.
    """

    def __init__(self, *, scale: float = 1.0) -> None:
        super().__init__(1)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """The binary weight, with the gradient passed to the real one as it is."""
        if not self.rounding:
            return x.clamp(-self.scale, self.scale)
        with torch.no_grad():
            value = self.binary(x) * self.scale
        return straight_through(value, x)

    def binary(self, x: Tensor) -> Tensor:
        """Eq. 1: +1 or -1, zero counting as positive."""
        return signs(x)

    def encode(self, x: Tensor) -> Encoded:
        """The signs, with the scale H."""
        return Encoded(signs(x.detach()), torch.tensor(self.scale, device=x.device), -1, 1)

    @torch.no_grad()
    def post_optimizer_step(self, weight: Tensor) -> None:
        """Clip the real weight to [-H, H], outside of which it has no influence (Algorithm 1)."""
        weight.clamp_(-self.scale, self.scale)


class StochasticBinaryConnect(BinaryConnect):
    """Binary by coin in training (Eq. 2), by sign in evaluation."""

    def binary(self, x: Tensor) -> Tensor:
        """+1 with probability ``clip((x / H + 1) / 2, 0, 1)``, else -1.

        Drawn from torch's own generator.
        """
        if not self.training:
            return super().binary(x)
        probability = ((x / self.scale + 1) / 2).clamp(0, 1)
        drawn = torch.where(torch.rand_like(x) < probability, 1.0, -1.0).to(x.dtype)
        return torch.where(x.isnan(), x, drawn)


def glorot(weight: Tensor) -> float:
    """``sqrt(1.5 / (inputs + outputs))`` of a weight: Glorot's coefficient, as released."""
    field = weight[0, 0].numel()
    return float((1.5 / ((weight.shape[0] + weight.shape[1]) * field)) ** 0.5)


def for_weight(bits: int, weight: Tensor, *, axis: int | None, normalized: bool) -> BinaryConnect:
    """For a weight, with H from its shape."""
    del bits, axis, normalized
    return BinaryConnect(scale=glorot(weight))


def for_weight_by_coin(
    bits: int, weight: Tensor, *, axis: int | None, normalized: bool
) -> StochasticBinaryConnect:
    """For a weight, with H from its shape."""
    del bits, axis, normalized
    return StochasticBinaryConnect(scale=glorot(weight))
