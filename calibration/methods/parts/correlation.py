"""The squared error of a layer's answer as a quadratic form of its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeq.calibration.methods.parts.layer_function import window_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.calibration.methods.parts.layer_pairs import LayerPair


class Correlation(NamedTuple):
    """What a group of a layer's channels meets, summed over all samples and positions.

    With it the squared error of their answer is ``sum(W * (W H)) - 2 sum(W * C)`` and a constant,
    however many samples there are.

    Attributes:
        hessian: H, the sum of x x^T over the inputs x that a weight meets, (in, in).
        target: C, the sum of t x^T with what the answers should be, (out, in).
    """

    hessian: NDArray[np.float64]
    target: NDArray[np.float64]


def groups_of(layer: LayerPair) -> int:
    """How many groups of channels a layer has, each with inputs of its own."""
    dense = layer.node.op_type == "Gemm"
    return 1 if dense else window_of(layer.node, layer.weight.ndim - 2).groups


def correlations(layer: LayerPair, target: NDArray[np.float32]) -> list[Correlation]:
    """Of each group of a dense or convolutional layer.

    A convolution is the dense layer of its patches.

    Args:
        layer: the layer.
        target: what its products should come to, (samples, out, ...).
    """
    import torch
    from torch.nn import functional

    if layer.node.op_type == "Gemm":
        rows = layer.inputs.astype(np.float64)
        return [Correlation(rows.T @ rows, target.astype(np.float64).T @ rows)]
    window = window_of(layer.node, layer.weight.ndim - 2)
    kernel, stride, dilation = (
        (1, *each)[-2:] for each in (layer.weight.shape[2:], window.stride, window.dilation)
    )
    out, channels = layer.weight.shape[:2]
    size, per_group = channels * kernel[0] * kernel[1], out // window.groups
    found = [
        Correlation(np.zeros((size, size)), np.zeros((per_group, size)))
        for _ in range(window.groups)
    ]
    for sample, wanted in zip(layer.inputs, target, strict=True):
        x = functional.pad(torch.from_numpy(sample[None]), window.padding)
        x = x if x.ndim == 4 else x[:, :, None]
        patches = functional.unfold(x, kernel, dilation=dilation, stride=stride)[0].numpy()
        answers = wanted.reshape(out, -1)
        for (hessian, products), rows, of_group in zip(
            found, np.split(patches, window.groups), np.split(answers, window.groups), strict=True
        ):
            hessian += rows @ rows.T
            products += of_group @ rows.T
    return found
