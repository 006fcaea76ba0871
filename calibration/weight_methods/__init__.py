"""Weight methods: each turns the float weights of a layer into integers after training.

One method a file, by entry point in ``edgeq.weight_methods``. A method chooses a scale, and rounds
onto the scale that it is given back. In between, whatever the method is, the scale grows where the
bias or pairs of products would not fit; see :mod:`edgeq.calibration.layer_parameters`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from edgeq.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeq.calibration.weight_methods.layer import FloatLayer
    from edgeq.quant import QuantizedTensor


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
