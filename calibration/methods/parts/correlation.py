"""The squared error of a layer's answer as a quadratic form of its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeq.calibration.methods.parts.layer_function import window_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.calibration.methods.parts.layer_pairs import LayerPair

_POSITIONS = 4096  # that are summed in float32
_HIGHEST = 127  # exponent of a power of two in float32


class Correlation(NamedTuple):
    """What each group of a layer's channels meets, summed over all samples and positions.

    With it the squared error of a group's answer is ``sum(W * (W H)) - 2 sum(W * C)`` and a
    constant, however many samples there are.

    Attributes:
        hessian: H, the sum of x x^T over the inputs x that a weight meets, (groups, in, in).
        target: C, the sum of t x^T with what the answers should be, (groups, out, in).
    """

    hessian: NDArray[np.float64]
    target: NDArray[np.float64]


def groups_of(layer: LayerPair) -> int:
    """How many groups of channels a layer has, each with inputs of its own."""
    dense = layer.node.op_type == "Gemm"
    return 1 if dense else window_of(layer.node, layer.weight.ndim - 2).groups


def correlation(layer: LayerPair, target: NDArray[np.float32]) -> Correlation:
    """Of a dense or convolutional layer, which is the dense layer of its patches.

    Args:
        layer: the layer.
        target: what its products should come to, (samples, out, ...).
    """
    import torch
    from torch.nn import functional

    if layer.node.op_type == "Gemm":
        rows = layer.inputs.astype(np.float64)
        return Correlation((rows.T @ rows)[None], (target.astype(np.float64).T @ rows)[None])
    window = window_of(layer.node, layer.weight.ndim - 2)
    kernel, stride, dilation = (
        (1, *each)[-2:] for each in (layer.weight.shape[2:], window.stride, window.dilation)
    )
    size, groups = layer.weight[0].size, window.groups
    hessian = np.zeros((groups, size, size))
    products = np.zeros((groups, len(layer.weight) // groups, size))
    by, to = _magnitude(layer.inputs), _magnitude(target)
    at_once = max(1, _POSITIONS * len(target) * len(layer.weight) // target.size)
    for start in range(0, len(target), at_once):
        part = slice(start, start + at_once)
        x = functional.pad(torch.from_numpy(layer.inputs[part] / by), window.padding)
        x = x if x.ndim == 4 else x[:, :, None]
        patches = functional.unfold(x, kernel, dilation=dilation, stride=stride)
        rows = patches.numpy().swapaxes(0, 1).reshape(groups, size, -1)
        turned = rows.swapaxes(1, 2)
        hessian += rows @ turned
        wanted = (target[part] / to).swapaxes(0, 1)
        products += wanted.reshape(*products.shape[:2], -1) @ turned
    return Correlation(hessian * float(by) ** 2, products * float(by) * float(to))


def _magnitude(values: NDArray[np.float32]) -> np.float32:
    """A power of two near the largest magnitude: numbers divided by it have finite squares."""
    _, exponent = np.frexp(max(values.max(initial=0.0), -values.min(initial=0.0)))
    return np.float32(2.0) ** min(int(exponent), _HIGHEST)
