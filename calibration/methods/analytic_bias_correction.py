"""Analytic bias correction: without data, from what each BatchNorm tells of its channels."""

from __future__ import annotations

from math import erf, exp, inf, pi, sqrt
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from edgeq.calibration._nodes import LAYERS, norm_of
from edgeq.calibration.graph import lower_bound, upper_bound
from edgeq.calibration.methods.parts.blocks import source_of
from edgeq.tabular import counted

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.calibration.methods.parts.layer_pairs import LayerPairs
    from edgeq.calibration.methods.parts.quantized_layer import QuantizedLayer

_KEEP_MEANS = frozenset(("AveragePool", "GlobalAveragePool", "Flatten"))


class AnalyticBiasCorrection:
    """Moves each bias by what the rounding of weights makes of the mean of the layer's input.

    Nagel et al., *Data-free quantization through weight equalization and bias correction* (2019),
    Eq. 17: ``b - dW E[x]``, with ``dW`` the rounding error summed over the kernel, and Eq. 19:
    ``E[x] = gamma phi(beta / gamma) + beta Phi(beta / gamma)`` behind a ReLU, where the BatchNorm
    in front of it has mean beta and deviation gamma; a bounded ReLU has the mean of the clipped
    normal distribution. Layers whose input no BatchNorm tells of keep their bias.
    """

    stage: ClassVar[Literal["integers"]] = "integers"

    def apply(self, layers: LayerPairs) -> str:
        """Correct all layers that have a bias and read what a BatchNorm tells of."""
        corrected = count = 0
        for layer in layers.quantized():
            mean = _mean_of(layer.node.inputs[0])
            count += 1
            if mean is None or not layer.has_bias or layer.node.op_type == "ConvTranspose":
                continue
            moved = _moved(layer, mean)
            if moved is not None:
                layer.add_to_bias(-moved)
                corrected += 1
        return f"corrected the biases of {counted(corrected, 'layer', of=count)}"


def _moved(layer: QuantizedLayer, mean: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """How far the rounding of weights moves the mean of each channel, (out,)."""
    error = layer.integers * layer.scale - layer.weight
    by_input = error.reshape(*error.shape[:2], -1).sum(axis=2)
    if by_input.shape[1] == len(mean):
        return np.asarray(by_input @ mean)
    groups, left = divmod(len(mean), by_input.shape[1])
    if left or len(by_input) % groups:
        return None
    of_group = np.repeat(mean.reshape(groups, -1), len(by_input) // groups, axis=0)
    return np.asarray((by_input * of_group).sum(axis=1))


def _mean_of(value: ir.Value | None) -> NDArray[np.float64] | None:
    """The mean of each channel of a tensor; None where no BatchNorm tells it."""
    low, high = -inf, inf
    while value is not None:
        node = source_of(value).producer()
        if node is None:
            return None
        if node.op_type in ("Relu", "Clip"):
            low, high = lower_bound(node), upper_bound(node)
        elif node.op_type in LAYERS:
            norm = norm_of(node)
            if norm is None:
                return None
            means = [_clipped(*each, low, high) for each in zip(*norm, strict=True)]
            return np.array(means)
        elif node.op_type not in _KEEP_MEANS:
            return None
        value = node.inputs[0]
    return None


def _clipped(mean: float, deviation: float, low: float, high: float) -> float:
    """The mean of a normal distribution that is clipped."""
    if deviation <= 0:
        return min(max(mean, low), high)
    a, b = ((bound - mean) / deviation for bound in (low, high))
    below, above = _share(a), 1.0 - _share(b)
    found = mean * (1.0 - below - above) + deviation * (_density(a) - _density(b))
    return found + (low * below if below else 0.0) + (high * above if above else 0.0)


def _share(x: float) -> float:
    return (1.0 + erf(x / sqrt(2.0))) / 2.0


def _density(x: float) -> float:
    return exp(-x * x / 2.0) / sqrt(2.0 * pi)
