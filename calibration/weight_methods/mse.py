"""Symmetric int8 weights on the scale of the smallest squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.weight_methods.symmetric import Symmetric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.calibration.weight_methods.layer import FloatLayer

_SHARES = np.linspace(0.3, 1.0, 71)


class MSE(Symmetric):
    """int8 weights with zero point 0; the scale with the smallest squared error of the weights.

    Of each channel, or of the layer: the scale of the largest magnitude times the share, from 0.3
    to 1, whose rounding and clipping errors are smallest together.
    """

    def scale(self, layer: FloatLayer) -> NDArray[np.float64]:
        """The best of the scales searched: (out,), or () for the whole layer."""
        widest = super().scale(layer)
        qmax = 2 ** (layer.bits - 1) - 1
        rows = layer.weight.astype(np.float64).reshape(widest.size, -1)
        best, lowest = widest.reshape(-1, 1), np.full((widest.size, 1), np.inf)
        for share in _SHARES:
            scale = widest.reshape(-1, 1) * share
            on_grid = np.clip(np.rint(rows / scale), -qmax, qmax) * scale
            error = ((rows - on_grid) ** 2).sum(axis=1, keepdims=True)
            best, lowest = np.where(error < lowest, scale, best), np.minimum(error, lowest)
        return best.reshape(widest.shape)


method = MSE()
