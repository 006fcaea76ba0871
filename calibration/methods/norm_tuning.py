"""BatchNorm re-estimation: each channel's mean and deviation are what they were in float."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from edgeq.calibration.methods.parts.moments import correct_channels
from edgeq.tabular import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.calibration.methods.parts.layer_pairs import LayerPairs
    from edgeq.calibration.methods.parts.moments import Moments


class NormTuning:
    """Estimates the statistics of each layer's BatchNorm again, in the quantised network.

    Hubara et al., *Improving post training neural quantization: Layer-wise calibration and integer
    programming* (2020), BatchNorm tuning. A BatchNorm with new mean m and deviation s of what the
    quantised layer makes gives the channel the mean and deviation that it had in float. Here it is
    folded already, so that ``y`` becomes ``(y - m) s_float / s + m_float``: the factor goes into
    the scale of the weights, the rest into the bias. Layers of one weight scale get their mean
    alone. Layer by layer, so that rounding in earlier layers is corrected too.
    """

    stage: ClassVar[Literal["integers"]] = "integers"

    def apply(self, layers: LayerPairs) -> str:
        """Correct all layers that have a bias."""
        corrected = correct_channels(layers, _factor)
        return f"gave their mean and deviation to the channels of {counted(corrected, 'layer')}"


def _factor(found: Moments) -> NDArray[np.float64]:
    ratio = np.sqrt(found.float_variance / np.where(found.variance > 0, found.variance, 1))
    return np.where(found.variance > 0, ratio, 1.0)
