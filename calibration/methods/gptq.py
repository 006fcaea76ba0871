"""GPTQ: round weight by weight, and let those that follow make up for the error."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from edgeq.calibration.methods.parts.correlation import correlation
from edgeq.calibration.methods.parts.rounding import round_better
from edgeq.errors import UsageError
from edgeq.tabular import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.calibration.methods.parts.layer_function import LayerFunction
    from edgeq.calibration.methods.parts.layer_pairs import LayerPair, LayerPairs

_DAMPING = 0.01


class GPTQ:
    """Rounds a layer's weights one after another; the rest make up for each error.

    Frantar et al., *GPTQ: Accurate post-training quantization for generative pre-trained
    transformers* (2023), Eq. 2 in its Cholesky form: with the Hessian ``H = X X^T`` of the inputs
    that a weight meets, damped by 1 % of its mean diagonal. A convolution is the dense layer of its
    patches. Groups are layers of their own. Three things are better than in the paper:

    - What is rounded are the weights whose answers to the quantised network's inputs come closest
      to the float layer's, as near the float weights as the damping holds them: so a layer makes up
      for errors in front of it too, as in Li et al., *GPTAQ: Efficient finetuning-free quantization
      for asymmetric calibration* (2025).
    - Weights that meet the largest inputs come first, while most of the others can make up.
    - Then each weight in turn moves to its best integer beside all the others, until none does, as
      in Behdin et al., *QuantEase: Optimization-based quantization for language models* (2023).

    A channel that does not get better keeps its nearest integers.

    Args:
        sweeps: how often each weight may move afterwards, at most; 0 for GPTQ alone.

    Raises:
        UsageError: less than no sweep.
    """

    stage: ClassVar[Literal["integers"]] = "integers"

    def __init__(self, sweeps: int = 20) -> None:
        if sweeps < 0:
            raise UsageError(
                f"GPTQ cannot sweep {sweeps} times", hint="choose 0 sweeps or more; 20 are usual"
            )
        self.sweeps = sweeps

    def apply(self, layers: LayerPairs) -> str:
        """Round the weights of all dense and convolutional layers."""
        changed, count = round_better(layers, self._rounded)
        return f"rounded the weights of {counted(changed, 'layer', of=count)} again"

    def _rounded(
        self, layer: LayerPair, _function: LayerFunction, target: NDArray[np.float32]
    ) -> NDArray[np.int32]:
        met = correlation(layer, target)
        size = met.hessian.shape[-1]
        means = np.trace(met.hessian, axis1=1, axis2=2)[:, None, None] / size
        damping = np.where(means > 0, _DAMPING * means, 1.0)
        hessians = met.hessian + damping * np.eye(size)
        own = layer.weight.reshape(met.target.shape).astype(np.float64)
        best = np.linalg.solve(hessians, (met.target + damping * own).swapaxes(1, 2))
        scale = np.broadcast_to(layer.scale, layer.weight.shape).reshape(own.shape)
        weights, limits = best.swapaxes(1, 2) / scale, (layer.low, layer.high)
        made = in_turn(weights, hessians, limits)
        descend(made, weights, hessians, limits, self.sweeps)
        return made.reshape(layer.weight.shape).astype(np.int32)


def in_turn(
    weights: NDArray[np.float64], hessians: NDArray[np.float64], limits: tuple[int, int]
) -> NDArray[np.float64]:
    """Integers for weights, one after another, the largest inputs first.

    Args:
        weights: in steps, (groups, out, in).
        hessians: of the inputs, positive definite, (groups, in, in).
        limits: the smallest and the largest integer.
    """
    order = np.argsort(-np.diagonal(hessians, axis1=1, axis2=2), axis=1, kind="stable")
    groups = np.arange(len(order))[:, None]
    sorted_ = hessians[groups[:, None], order[:, :, None], order[:, None, :]]
    # the upper Cholesky factor of the inverse: row i is what weights behind i owe to it
    upper = np.linalg.cholesky(np.linalg.inv(sorted_)).swapaxes(1, 2)
    left = np.take_along_axis(weights, order[:, None], axis=2)
    integers = np.zeros(weights.shape)
    for i in range(order.shape[1]):
        rounded = np.clip(np.rint(left[..., i]), *limits)
        error = (left[..., i] - rounded) / upper[:, None, i, i]
        left[..., i:] -= error[..., None] * upper[:, None, i, i:]
        integers[groups[:, 0], :, order[:, i]] = rounded
    return integers


def descend(
    integers: NDArray[np.float64],
    weights: NDArray[np.float64],
    hessians: NDArray[np.float64],
    limits: tuple[int, int],
    sweeps: int,
) -> None:
    """Move each weight to its best integer beside all the others, until none moves; in place.

    Args:
        integers: (groups, out, in).
        weights: in steps, of the same shape.
        hessians: of the inputs, (groups, in, in).
        limits: the smallest and the largest integer.
        sweeps: how often all weights are gone through, at most.
    """
    missing = (weights - integers) @ hessians
    for _ in range(sweeps):
        moved = False
        for i in range(hessians.shape[-1]):
            best = integers[..., i] + missing[..., i] / hessians[:, None, i, i]
            step = np.clip(np.rint(best), *limits) - integers[..., i]
            group, row = np.nonzero(step)
            if not len(group):
                continue
            moved = True
            taken = step[group, row]
            integers[group, row, i] += taken
            missing[group, row] -= taken[:, None] * hessians[group, i]
        if not moved:
            break
