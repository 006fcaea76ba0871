"""uint8 weights with a zero point, one range for the whole layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.quant import QuantizedTensor, QuantParams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.calibration.weight_methods.layer import FloatLayer


class Affine:
    """uint8 weights with a zero point; one range for the layer, from minimum to maximum.

    TensorFlow's ``MIN_FIRST``: the range includes zero, the scale is its width over
    ``2^bits - 1``, whatever ``per_channel`` says; weights and the zero point are rounded half
    away from zero.
    """

    symmetric = False

    def scale(self, layer: FloatLayer) -> NDArray[np.float64]:
        """The width of the range over the largest integer, ()."""
        qmax = 2**layer.bits - 1
        high = max(float(layer.weight.max()), 0.0)
        return layer.without_zeros(np.array((high - _low(layer)) / qmax), otherwise=1.0 / qmax)

    def quantize(self, layer: FloatLayer, scale: NDArray[np.float32]) -> QuantizedTensor:
        """The nearest integers, as uint8."""
        qmax = 2**layer.bits - 1
        zero_point = -int(_round_away(np.float64(_low(layer) / float(scale))))
        params = QuantParams.of(scale, zero_point, "uint8", 0, qmax)
        integers = _round_away(layer.weight.astype(np.float64) / float(scale)) + zero_point
        return QuantizedTensor(np.clip(integers, 0, qmax).astype(np.uint8), params)


def _low(layer: FloatLayer) -> float:
    return min(float(layer.weight.min()), 0.0)


def _round_away(x: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    """To the nearest integer, halves away from zero."""
    return np.asarray(np.copysign(np.floor(np.abs(x) + 0.5), x))


method = Affine()
