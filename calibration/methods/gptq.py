"""GPTQ: round weight by weight, and let those that follow make up for the error."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from edgeq.calibration.methods.parts.correlation import correlation
from edgeq.calibration.methods.parts.rounding import round_better
from edgeq.tabular import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.calibration.methods.parts.layer_function import LayerFunction
    from edgeq.calibration.methods.parts.layer_pairs import LayerPair, LayerPairs

_DAMPING = 0.01


class GPTQ:
    """Rounds a layer's weights one after another; the rest make up for each error.

    Frantar et al., *GPTQ: Accurate post-training quantization for generative pre-trained
    transformers* (2023), Eq. 2 in its Cholesky form: with the Hessian ``H = 2 X X^T`` of the inputs
    that a weight meets, damped by 1 % of its mean diagonal. A convolution is the dense layer of its
    patches. Groups are layers of their own. A channel that does not get better keeps its nearest
    integers.
    """

    stage: ClassVar[Literal["integers"]] = "integers"

    def apply(self, layers: LayerPairs) -> str:
        """Round the weights of all dense and convolutional layers again."""
        changed, count = round_better(layers, _rounded)
        return f"rounded the weights of {counted(changed, 'layer', of=count)} again"


def _rounded(
    layer: LayerPair, _function: LayerFunction, target: NDArray[np.float32]
) -> NDArray[np.int32]:
    met = correlation(layer, target)
    scale = np.broadcast_to(layer.scale, layer.weight.shape)
    weights = (layer.weight / scale).reshape(*met.target.shape).astype(np.float64)
    made = _in_turn(weights, met.hessian, (layer.low, layer.high))
    return made.reshape(layer.weight.shape)


def _in_turn(
    weights: NDArray[np.float64], hessians: NDArray[np.float64], limits: tuple[int, int]
) -> NDArray[np.int32]:
    """Integers for weights in steps, (groups, out, in), by Hessians of inputs, (groups, in, in)."""
    size = hessians.shape[-1]
    means = np.trace(hessians, axis1=1, axis2=2) / size
    damping = np.where(means > 0, _DAMPING * means, 1.0)[:, None, None]
    # the upper Cholesky factor of the inverse: row i is what weights behind i owe to it
    inverse = np.linalg.inv(hessians + damping * np.eye(size))
    upper = np.linalg.cholesky(inverse).swapaxes(1, 2)
    left, integers = weights.copy(), np.zeros(weights.shape, np.int32)
    for i in range(size):
        integers[..., i] = np.clip(np.rint(left[..., i]), *limits)
        error = (left[..., i] - integers[..., i]) / upper[:, None, i, i]
        left[..., i:] -= error[..., None] * upper[:, None, i, i:]
    return integers
