"""A uniform quantiser whose range follows min and max, its zero point wherever that puts it.

An integer runtime stores any zero point, so a tensor that is mostly positive need not waste half
its levels on the rest (Jacob et al., *Quantization and training of neural networks for efficient
integer-arithmetic-only inference*, 2018, Sec. 3.1 and Eq. 13).
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeq.quant import QuantParams
from edgeq.training import distributed_stats
from edgeq.training.quantizers.parts.fake_quant import in_units
from edgeq.training.quantizers.parts.straight_through import straight_through
from edgeq.training.quantizers.parts.uniform import SMALLEST_BOUND, UniformGrid, require_target


class TrackedRange(UniformGrid):
    """Each end moves out at once to a batch's min or max and decays slowly; zero is exact.

    Args:
        bits: the width it is trained for.
        decay: the share of the way back to a smaller extreme that each training batch takes.
    """

    least: Tensor
    most: Tensor

    def __init__(self, bits: int, *, decay: float = 0.01) -> None:
        super().__init__(bits, signed=True)
        self.decay = decay
        self.finest = 0.0  # the step that integer kernels of the operator in front can write
        self.register_buffer("least", torch.zeros(()))
        self.register_buffer("most", torch.zeros(()))

    @property
    def scale(self) -> Tensor:
        """1 LSB in real units; shape ()."""
        smallest = max(2 * SMALLEST_BOUND, self.finest * self._highest)
        return (self.most - self.least).clamp(min=smallest) / self._highest

    @property
    def zero_point(self) -> int:
        """The stored integer that stands for zero, 0 to ``2^b - 1``."""
        return int(self._zero)

    @property
    def waits(self) -> bool:
        """Whether the first batch that says something is still to come."""
        return bool(self.least == self.most)

    @property
    def qmax(self) -> int:
        """The largest integer, the zero point taken off."""
        return self._highest - self.zero_point

    @property
    def qmin(self) -> int:
        """The smallest integer, the zero point taken off."""
        return -self.zero_point

    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantise; in training, follow the batch first.

        The gradient passes strictly inside the range.
        """
        if self.training:
            with torch.no_grad():
                least, most = (
                    distributed_stats.least(x.amin().to(self.least.dtype)),
                    distributed_stats.largest(x.amax().to(self.most.dtype)),
                )
                self.least.copy_(
                    torch.minimum(least, self.least.lerp(least, self.decay)).clamp(max=0.0)
                )
                self.most.copy_(
                    torch.maximum(most, self.most.lerp(most, self.decay)).clamp(min=0.0)
                )
        with torch.no_grad():
            zero, scale = self._zero, self.scale
            low, high = 0 - zero, self._highest - zero
            position = in_units(x, scale)
            inside = (position > low) & (position < high)
            clipped = position.clamp_(low, high)
            value = (clipped.round_() if self.rounding else clipped).mul_(scale).to(x.dtype)
        return straight_through(value, torch.where(inside, x, x.detach()))

    def quant_params(self) -> QuantParams:
        """The grid in uint8, with its own zero point."""
        require_target(self)
        return QuantParams.of(
            self.scale.detach().cpu().numpy(), self.zero_point, "uint8", 0, self._highest
        )

    @property
    def _zero(self) -> Tensor:
        """The zero point, still a tensor: taking the number out of one breaks a compiled graph."""
        # a run that diverged shows in its values
        return (-self.least / self.scale).round().nan_to_num()

    @property
    def _highest(self) -> int:
        """The largest stored integer."""
        return int(2**self.bits - 1)


def for_activation(bits: int, *, signed: bool) -> TrackedRange:
    """For an activation of either sign: what is never negative gets the zero point 0 by itself."""
    del signed
    return TrackedRange(bits)
