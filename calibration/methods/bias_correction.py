"""Empirical bias correction: each channel's mean is what it was in float."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from edgeq.calibration.methods.parts.moments import moments
from edgeq.tabular import counted

if TYPE_CHECKING:
    from edgeq.calibration.methods.parts.layer_pairs import LayerPairs


class BiasCorrection:
    """Moves each bias by how far quantisation moved the mean of its channel.

    Nagel et al., *Data-free quantization through weight equalization and bias correction* (2019),
    Appendix D, with means measured on calibration samples: layer by layer, so that a layer is
    corrected for what rounding before it has done too.
    """

    stage: ClassVar[Literal["integers"]] = "integers"

    def apply(self, layers: LayerPairs) -> str:
        """Correct all layers that have a bias."""
        corrected = count = 0
        for layer in layers:
            count += 1
            if not layer.has_bias:
                continue
            found = moments(layer)
            layer.add_to_bias(found.float_mean - found.mean)
            corrected += 1
        without = ", for the others have none" if corrected < count else ""
        return f"corrected the biases of {corrected} of {counted(count, 'layer')}{without}"
