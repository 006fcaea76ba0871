"""What stands between the weights of a float network and a layer's integers: factors, and order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.diffing.rounding import FloatLayer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.linting.model import LintLayer

_FOLDED = 1e-4
"""Of a factor: what float32 may add to 1."""


def gain_of(layer: LintLayer, folded: FloatLayer) -> NDArray[np.float64]:
    """What a folded layer has more than its integers say: the factor that was folded, (out,)."""
    if layer.weights is None or layer.weight_grid is None:
        return np.ones(1)
    count = len(layer.weights)
    scale = np.atleast_1d(layer.weight_grid.scale).astype(np.float64).reshape(-1, 1)
    stored = layer.weights.reshape(count, -1) * (scale if len(scale) in (1, count) else scale.max())
    mine, its = stored, folded.weights.reshape(count, -1)
    norm = (mine * mine).sum(1)
    gain = np.where(norm > 0, (mine * its).sum(1) / np.where(norm > 0, norm, 1), 1.0)
    gain = np.where(np.abs(gain - 1) < _FOLDED, 1.0, gain)
    return np.where(np.abs(gain + 1) < _FOLDED, -1.0, np.where(gain == 0, 1.0, gain))


def channels_last(real: FloatLayer, layer: LintLayer) -> FloatLayer:
    """The columns of a fully connected layer in the order of rows, columns, channels.

    Converters put them so where a flattened image comes before; the order that fits best is taken.
    """
    if real.weights.ndim != 2 or layer.weights is None:
        return real
    count, width = real.weights.shape
    integers = layer.weights.reshape(count, -1)
    best, most = real, float((real.weights * integers).sum())
    for channels in range(2, width // 2 + 1):
        if width % channels:
            continue
        turned = real.weights.reshape(count, channels, -1).swapaxes(1, 2).reshape(count, -1)
        alike = float((turned * integers).sum())
        if alike > most:
            best, most = FloatLayer(real.node, turned, real.bias), alike
    return best
