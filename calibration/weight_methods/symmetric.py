"""Symmetric int8 weights on the scale of the largest magnitude."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.quant import QuantizedTensor, QuantParams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.calibration.weight_methods.layer import FloatLayer


class Symmetric:
    """int8 weights with zero point 0; the scale is that of the largest magnitude.

    Of each channel, or of the layer. Integers from ``-(2^(bits-1) - 1)`` to ``2^(bits-1) - 1``,
    rounded half to even.
    """

    symmetric = True

    def scale(self, layer: FloatLayer) -> NDArray[np.float64]:
        """The largest magnitude over the largest integer: (out,), or () for the whole layer."""
        qmax = layer.largest()
        magnitudes = np.abs(np.float64(layer.weight)).reshape(len(layer.weight), -1).max(axis=1)
        scale = (magnitudes if layer.per_channel else magnitudes.max()) / qmax
        return layer.without_zeros(np.asarray(scale), otherwise=1.0 / float(qmax.max()))

    def quantize(self, layer: FloatLayer, scale: NDArray[np.float32]) -> QuantizedTensor:
        """The nearest integers, as int8."""
        qmax = 2 ** (layer.bits - 1) - 1
        params = QuantParams.of(scale, 0, "int8", -qmax, qmax, 0 if scale.ndim else None)
        return QuantizedTensor(params.quantize(layer.weight), params)


method = Symmetric()
