"""Rounding that is learnt: how far each weight lies between its two nearest integers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from edgeq.calibration.methods.parts.quantized_layer import QuantizedLayer

_ZETA, _GAMMA = 1.1, -0.1
_WARM_UP = 0.2
_BETA = 20.0, 2.0


class SoftRounding:
    """A layer's weights as AdaRound learns them.

    Nagel et al., *Up or down? Adaptive rounding for post-training quantization* (2020), Eqs. 22 to
    24: ``W = s clip(floor(W / s) + h(V), n, p)`` with ``h(V) = clip(1.2 sigmoid(V) - 0.1, 0, 1)``.
    It starts at the float weights.

    Attributes:
        v: what is learnt, (out, ...).
    """

    def __init__(self, layer: QuantizedLayer) -> None:
        import torch

        scaled = layer.weight.astype(np.float64) / layer.scale
        floor, rest = np.floor(scaled), scaled - np.floor(scaled)
        start = -np.log((_ZETA - _GAMMA) / (rest - _GAMMA) - 1.0)
        self.v = torch.from_numpy(start.astype(np.float32)).requires_grad_()
        self._lower = torch.from_numpy(floor.astype(np.float32))
        self._scale = torch.from_numpy(layer.scale.astype(np.float32))
        self._limits = layer.low, layer.high

    def weight(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The weights now, (out, ...), and how far up each is rounded, from 0 to 1."""
        up = ((_ZETA - _GAMMA) * self.v.sigmoid() + _GAMMA).clamp(0, 1)
        return self._scale * (self._lower + up).clamp(*self._limits), up

    def integers(self) -> NDArray[np.int32]:
        """The integers that were learnt, (out, ...)."""
        rounded = self._lower + (self.v.detach() >= 0)
        return rounded.clamp(*self._limits).numpy().astype(np.int32)


def regularizer(up: torch.Tensor, share: float) -> torch.Tensor | float:
    """What draws weights to integers, Eq. 24: ``sum(1 - |2 h - 1|^beta)``; beta falls from 20 to 2.

    Args:
        up: h of all weights.
        share: of the steps that are done; nothing is drawn in the first fifth.
    """
    if share < _WARM_UP:
        return 0.0
    start, end = _BETA
    cosine = (1 + math.cos(math.pi * (share - _WARM_UP) / (1 - _WARM_UP))) / 2
    return (1 - (2 * up - 1).abs() ** (end + (start - end) * cosine)).sum()
