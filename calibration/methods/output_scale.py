"""Scale search: the scale of each channel with the smallest error of what the layer answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from edgeq.calibration.methods.parts.layer_function import layer_function
from edgeq.calibration.methods.parts.rounding import (
    channel_errors,
    products_wanted,
    still_pair_safe,
)
from edgeq.tabular import counted

if TYPE_CHECKING:
    from edgeq.calibration.methods.parts.layer_function import LayerFunction
    from edgeq.calibration.methods.parts.layer_pairs import LayerPair, LayerPairs

_SHARES = np.linspace(0.5, 1.2, 15)


class OutputScale:
    """Searches the scale of each channel's weights by the error of the layer's answer.

    Wu et al., *EasyQuant: Post-training quantization via scale optimization* (2020), Section 3.2,
    by squared error instead of cosine similarity and with one scale a channel: of shares from 0.5
    to 1.2 of the scale that it has, with weights rounded to nearest, on calibration samples. A
    channel that no other scale makes better keeps its own; so do layers of one scale. Use it before
    ``adaround`` or ``gptq``, which round on the scales that they find.
    """

    stage: ClassVar[Literal["integers"]] = "integers"

    def apply(self, layers: LayerPairs) -> str:
        """Search the scales of all dense and convolutional layers."""
        changed = count = 0
        for layer in layers:
            function = layer_function(layer.node, layer.weight.ndim - 2)
            if function is not None and layer.scale.ndim:
                channels = _search(layer, function)
                changed += channels
                count += len(layer.weight)
        return f"found better scales for {counted(changed, 'channel', of=count)}"


def _search(layer: LayerPair, function: LayerFunction) -> int:
    old, scale = layer.integers, layer.scale
    target = products_wanted(layer, function)
    best, integers = scale.copy(), old.copy()
    lowest = channel_errors(layer, function, old * scale, target)
    for share in _SHARES:
        tried = (scale * share).astype(np.float32).astype(np.float64)
        rounded = np.clip(np.rint(layer.weight / tried), layer.low, layer.high).astype(np.int32)
        safe = (still_pair_safe(rounded, old) == rounded).reshape(len(old), -1).all(axis=1)
        error = channel_errors(layer, function, rounded * tried, target)
        better = safe & (error < lowest)
        lowest = np.where(better, error, lowest)
        chosen = better.reshape(scale.shape)
        best, integers = np.where(chosen, tried, best), np.where(chosen, rounded, integers)
    layer.set_scale(best)
    layer.set_integers(integers)
    return int((best != scale).sum())
