"""Scale and affine correction: the line that brings each channel closest to float."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from edgeq.calibration.methods.parts.moments import correct_channels
from edgeq.tabular import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.calibration.methods.parts.layer_pairs import LayerPairs
    from edgeq.calibration.methods.parts.moments import Moments


class AffineCorrection:
    """Gives each channel the factor and shift of the smallest squared error against float.

    The per-channel scale and mean of Banner et al., *Post training 4-bit quantization of
    convolutional networks for rapid-deployment* (2019), Section 5, fitted to what the layer answers
    instead of to its weights: ``a = cov(y, y_float) / var(y)`` and ``b = mean(y_float) - a
    mean(y)``, by least squares on the samples. The factor goes into the scale of the weights, the
    shift into the bias; layers of one weight scale get the shift alone. Layer by layer, so that
    rounding in earlier layers is corrected too.
    """

    stage: ClassVar[Literal["integers"]] = "integers"

    def apply(self, layers: LayerPairs) -> str:
        """Correct all layers that have a bias."""
        corrected = correct_channels(layers, _factor)
        return f"fitted a line to the channels of {counted(corrected, 'layer')}"


def _factor(found: Moments) -> NDArray[np.float64]:
    used = (found.variance > 0) & (found.covariance > 0)
    ratio = found.covariance / np.where(used, found.variance, 1.0)
    return np.where(used, ratio, 1.0)
