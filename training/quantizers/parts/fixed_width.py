"""What quantisers share whose levels are of one width by nature: there is nothing to anneal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from edgeq.training.quantizers.parts.protocol import Encoded


class FixedWidth(nn.Module, ABC):
    """A quantiser that is at its target from the start, whatever ``bits`` is set to.

    Args:
        bits: the width.
        axis: the channel axis of a quantiser with one scale per channel, else None.
    """

    def __init__(self, bits: int, *, axis: int | None = None) -> None:
        super().__init__()
        self.target_bits = bits
        self.bits = bits
        self.axis = axis
        self.rounding = True

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantise a tensor; its dtype is kept."""

    @abstractmethod
    def encode(self, x: Tensor) -> Encoded:
        """The integers of ``x`` on the grid, and the grid."""

    def post_optimizer_step(self, weight: Tensor) -> None:
        """Nothing: a step of the optimiser is all there is to it."""

    def extra_repr(self) -> str:
        """The width, for ``print(model)``."""
        return f"bits={self.target_bits}" + (
            "" if self.axis is None else f", one scale for each index of axis {self.axis}"
        )
