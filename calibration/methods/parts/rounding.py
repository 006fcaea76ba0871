"""Other integers for a layer's weights than the nearest, and never for the worse.

What AdaRound and GPTQ share: the layer as a function of its weights, and the choice between new
integers and those that it has by the error of its answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.methods.parts.layer_function import layer_function
from edgeq.qdq.ort_x86.saturation import in_kernel_order, neighbours

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgeq.calibration.methods.parts.layer_function import LayerFunction
    from edgeq.calibration.methods.parts.layer_pairs import LayerPair, LayerPairs

    IntegersOf = Callable[[LayerPair, LayerFunction, NDArray[np.float32]], NDArray[np.int32]]

_PAIR_LIMIT = 128
_BATCH = 64


def round_better(layers: LayerPairs, integers_of: IntegersOf) -> tuple[int, int]:
    """Give each layer other integers where its answer comes closer to the float one.

    Args:
        layers: the layers; those without a :func:`layer_function` stay as they are.
        integers_of: makes the integers of a layer, (out, ...), from the layer, its function, and
            what its products should come to, (samples, out, ...).

    Returns:
        How many layers were changed, and how many could be.
    """
    made = [round_one(layer, integers_of) for layer in layers]
    known = [changed for changed in made if changed is not None]
    return sum(known), len(known)


def round_one(layer: LayerPair, integers_of: IntegersOf) -> bool | None:
    """Do so for one layer: whether it was changed; None for one that cannot be."""
    function = layer_function(layer.node, layer.weight.ndim - 2)
    if function is None:
        return None
    target = products_wanted(layer, function)
    return _keep_better(layer, function, integers_of(layer, function, target), target)


def products_wanted(layer: LayerPair, function: LayerFunction) -> NDArray[np.float32]:
    """What the layer's products should come to: the float answer without the quantised bias.

    The bias is what the layer answers beyond the products of its inputs and weights.
    """
    import torch

    weight = torch.from_numpy((layer.integers * layer.scale).astype(np.float32))
    with torch.no_grad():
        first = function(torch.from_numpy(layer.inputs[:1]), weight).numpy()
    bias = (layer.answer[:1] - first).mean(axis=(0, *range(2, first.ndim)), keepdims=True)
    return np.asarray(layer.target - bias, np.float32)


def _keep_better(
    layer: LayerPair,
    function: LayerFunction,
    integers: NDArray[np.int32],
    target: NDArray[np.float32],
) -> bool:
    """Store new integers where the layer's answer comes closer to the target.

    Channels of which a pair of products could saturate on x86 without VNNI, and could not before,
    keep their old ones.

    Returns:
        Whether any was stored.
    """
    old = layer.integers
    chosen = still_pair_safe(integers, old)
    before, after = (
        channel_errors(layer, function, each * layer.scale, target) for each in (old, chosen)
    )
    better = (after < before).reshape(-1, *[1] * (old.ndim - 1))
    layer.set_integers(np.where(better, chosen, old))
    return bool(better.any())


def channel_errors(
    layer: LayerPair,
    function: LayerFunction,
    weight: NDArray[np.floating],
    target: NDArray[np.float32],
) -> NDArray[np.float64]:
    """The squared error of each channel of the layer's products with some weights, (out,)."""
    import torch

    error = np.zeros(len(weight))
    used = torch.from_numpy(weight.astype(np.float32))
    with torch.no_grad():
        for start in range(0, len(target), _BATCH):
            part = slice(start, start + _BATCH)
            answer = function(torch.from_numpy(layer.inputs[part]), used).numpy()
            squares = (answer.astype(np.float64) - target[part]) ** 2
            error += squares.sum(axis=(0, *range(2, squares.ndim)))
    return error


def still_pair_safe(integers: NDArray[np.int32], old: NDArray[np.int32]) -> NDArray[np.int32]:
    """New integers, (out, ...), but old ones for channels that only new ones let saturate.

    What saturates is a pair of products on x86 without VNNI.
    """
    worse = _pairs(integers) > np.maximum(_pairs(old), _PAIR_LIMIT)
    return np.where(worse.reshape(-1, *[1] * (old.ndim - 1)), old, integers)


def _pairs(integers: NDArray[np.int32]) -> NDArray[np.int64]:
    """The largest sum of a pair of weights of one sign, (out,)."""
    rows = in_kernel_order(integers)
    sums = [np.add(*neighbours(np.maximum(sign * rows, 0))) for sign in (1, -1)]
    largest: NDArray[np.int64] = np.max([each.max(axis=1, initial=0) for each in sums], axis=0)
    return largest
