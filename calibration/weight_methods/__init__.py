"""Weight methods: each turns the float weights of a layer into integers after training.

One method a file, by entry point in ``edgeq.weight_methods``. A method chooses a scale, and rounds
onto the scale that it is given back. In between, whatever the method is, the scale grows where the
bias or pairs of products would not fit; see :mod:`edgeq.calibration.layer_parameters`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgeq.brief import brief
from edgeq.registry import Registry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.quant import QuantizedTensor


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
    """

    name: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    input_scale: NDArray[np.float32]
    bits: int
    per_channel: bool = True
    pair_limit: int | None = None

    __repr__ = brief

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


class WeightQuantizer(Protocol):
    """A method; it keeps nothing between layers.

    Attributes:
        symmetric: whether its integers are int8 with zero point 0. Only those are added in pairs by
            x86 kernels, so only their scales are made pair-safe.
    """

    symmetric: bool

    def scale(self, layer: FloatLayer) -> NDArray[np.float64]:
        """The scale of the layer's weights, () or (out,), above 0."""
        ...

    def quantize(self, layer: FloatLayer, scale: NDArray[np.float32]) -> QuantizedTensor:
        """The weights on a scale not below the method's own: integers (out, ...) and their grid."""
        ...


WEIGHT_METHODS: Registry[WeightQuantizer] = Registry("weight method")
"""The weight methods by the name that a user types."""
