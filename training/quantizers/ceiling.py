"""The activation quantiser of the released graph networks: no level at zero, rounding up.

It stands in the code of Ben-Yair, Eliasof, Treister, *Quantized convolutional neural networks
through the lens of partial differential equations*, Table 3, in place of Eq. 18: ``2^b`` equally
spaced levels from ``-alpha`` to ``alpha``, the next one above instead of the nearest, so that the
error reaches a whole LSB and zero becomes ``-alpha / (2^b - 1)``. Its zero point,
``(2^b - 1) / 2``, is no integer, which is why no integer runtime can hold it. It is here to repeat
the published figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import torch
from torch import Tensor

from edgeq.errors import UsageError
from edgeq.training.quantizers.learned_clip import LearnedClip
from edgeq.training.quantizers.parts.uniform import SMALLEST_BOUND

if TYPE_CHECKING:
    from edgeq.quant import QuantParams

_NUDGE = 1e-8  # as released: what lies on a level in float32 is not lifted, the lowest bound is


class CeilingClip(LearnedClip):
    """``2^b`` levels without zero, rounded up, with a learned bound and the gradients of Eq. 19.

    Args:
        bits: the width it is trained for.
        bound: the initial bound alpha, in real units.
    """

    def __init__(self, bits: int, *, bound: float) -> None:
        super().__init__(bits, signed=True, bound=bound)

    @property
    def scale(self) -> Tensor:
        """The distance of two levels in real units; shape ()."""
        spread: Tensor = 2 * self.alpha.clamp(min=SMALLEST_BOUND)
        return spread / float(2**self.bits - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantise a tensor of any shape, float32 to float32."""
        bound = self.alpha.clamp(min=SMALLEST_BOUND)
        unit = (x / bound).clamp(-1, 1)
        held = unit.detach()
        error = self._levels(held) - held if self.rounding else torch.zeros_like(unit)
        out: Tensor = bound * (unit + error)
        return out

    def _levels(self, unit: Tensor) -> Tensor:
        levels = float(2**self.bits)
        half, spread = levels / 2, levels / (levels - 1)
        index = torch.ceil(half * unit + half + _NUDGE)  # 1 to 2^b
        return (index * spread - (half + spread)) / half

    def encode(self, x: Tensor) -> NoReturn:  # noqa: ARG002  (the base class's signature)
        """Refused: the levels are no multiples of the scale."""
        raise _no_grid()

    def quant_params(self) -> QuantParams:
        """Refused: the zero point is no integer."""
        raise _no_grid()


def _no_grid() -> UsageError:
    return UsageError(
        "the released graph quantiser has no level at zero, so that no integer runtime can hold it",
        hint='train with the quantiser "signed"',
    )
