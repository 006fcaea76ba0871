"""Empirical bias correction: the next layer reads channels of the mean that they had in float."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from edgeq.tabular import counted

if TYPE_CHECKING:
    from edgeq.calibration.methods.parts.layer_pairs import LayerPairs


class BiasCorrection:
    """Moves each bias by how far quantisation moved the mean of its channel.

    Nagel et al., *Data-free quantization through weight equalization and bias correction* (2019),
    Appendix D, with means measured on calibration samples: layer by layer, so that a layer is
    corrected for what rounding before it has done too. Where a residual is added to the answer, the
    mean of the sum is made right: branches of a trained network pull a shifted residual back, and
    with means of their own they would not. Where a ReLU or a clip follows, the mean behind it is:
    noise is clipped on one side, so equal means in front of a ReLU are not equal behind it.
    """

    stage: ClassVar[Literal["integers"]] = "integers"

    def apply(self, layers: LayerPairs) -> str:
        """Correct all layers that have a bias."""
        corrected = count = 0
        for layer in layers:
            count += 1
            if not layer.has_bias:
                continue
            layer.add_to_bias(layer.onward.shift(layer.answer, layer.target))
            corrected += 1
        without = ", for the others have none" if corrected < count else ""
        return f"corrected the biases of {corrected} of {counted(count, 'layer')}{without}"
