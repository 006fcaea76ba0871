"""What a weight method is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class FloatLayer:
    """What a weight method knows of a layer.

    Attributes:
        name: for messages.
        weight: float32, (out, ...).
        bias: float32, (out,); None for none.
        input_scale: the scale of the layer's input, shape ().
        bits: width of the weights.
        per_channel: whether each output channel may have a scale of its own.
        pair_limit: what two weights that a kernel adds in pairs may add up to; None for any sum.
        channel_bits: the width of each output channel, ``bits`` at most; empty where all have it.
    """

    name: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    input_scale: NDArray[np.float32]
    bits: int
    per_channel: bool = True
    pair_limit: int | None = None
    channel_bits: tuple[int, ...] = ()

    __repr__ = brief

    def largest(self) -> NDArray[np.float64]:
        """The largest integer of symmetric weights: (), or (out,) where channels differ."""
        return 2.0 ** (np.asarray(self.channel_bits or self.bits, np.float64) - 1) - 1

    def bias_magnitudes(self) -> NDArray[np.float64]:
        """The magnitude of each channel's bias, (out,); zero without a bias."""
        return np.zeros(len(self.weight)) if self.bias is None else np.abs(np.float64(self.bias))

    def without_zeros(self, scale: NDArray[np.float64], *, otherwise: float) -> NDArray[np.float64]:
        """Give a channel of zeros the largest scale of the layer.

        Args:
            scale: () or (out,); 0 for zeros.
            otherwise: for a layer that is zero throughout, without a bias. With one, the scale is
                that at which the bias has 16 bits.
        """
        coarsest = (
            scale.max() or self.bias_magnitudes().max() / (float(self.input_scale) * 2**15)
        ) or otherwise
        return np.where(scale > 0.0, scale, coarsest)
