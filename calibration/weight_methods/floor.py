"""Symmetric int8 weights that are rounded down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.weight_methods.symmetric import Symmetric
from edgeq.qdq.ort_x86.saturation import in_kernel_order, pair_safe_scale
from edgeq.quant import QuantizedTensor, QuantParams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.calibration.weight_methods.layer import FloatLayer


class Floor(Symmetric):
    """int8 weights with zero point 0, rounded down, as in bounds of approximation.

    Gonon et al., *Approximation speed of quantized vs. unquantized ReLU neural networks and beyond*
    (2023): ``Q_eta(x) = floor(x / eta) eta``. Its error is up to a whole step, and has a mean of
    half a step: a mode for comparison with the theory, not for use.
    """

    def scale(self, layer: FloatLayer) -> NDArray[np.float64]:
        """As for nearest integers; larger where a pair rounded down would exceed its limit."""
        scale = super().scale(layer)
        if layer.pair_limit is None:
            return scale
        rows = in_kernel_order(layer.weight)
        step = pair_safe_scale(rows, scale.astype(np.float32), layer.pair_limit - 2)
        return np.maximum(scale, step.astype(np.float64))

    def quantize(self, layer: FloatLayer, scale: NDArray[np.float32]) -> QuantizedTensor:
        """The integers below, as int8."""
        qmax = 2 ** (layer.bits - 1) - 1
        params = QuantParams.of(scale, 0, "int8", -qmax, qmax, 0 if scale.ndim else None)
        steps, _ = params.broadcast(layer.weight.ndim)
        integers = np.floor(layer.weight.astype(np.float64) / steps)
        return QuantizedTensor(np.clip(integers, -qmax, qmax).astype(np.int8), params)


method = Floor()
