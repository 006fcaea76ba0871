"""Two initialisations that change how well a network quantises, and BatchNorm without its scale.

Yun and Wong, "Do all MobileNets quantize poorly?" (2021), compare He's and Glorot's initialisation,
each with and without BatchNorm's gamma, in TensorFlow. So fans are counted as TensorFlow counts
them: a depthwise kernel of shape (k, k, channels, 1) has the fan-in ``k k channels`` and the
fan-out ``k k``.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

Initialization = Literal["he", "glorot"]
_TRUNCATED_DEVIATION = 0.87962566103423978  # of a standard normal that is cut off at two deviations


@torch.no_grad()
def initialize_like_tensorflow(
    network: nn.Module, how: Initialization, *, gamma: bool = True
) -> None:
    """Set all weights of convolutions and linear layers.

    Biases start at zero, BatchNorm as the identity.

    Args:
        network: changed in place.
        how: ``he``: normal, of variance ``2 / fan_in``, cut off at two deviations and brought back
            to that variance (He et al., 2015); ``glorot``: uniform within
            ``sqrt(6 / (fan_in + fan_out))`` (Glorot and Bengio, 2010).
        gamma: false fixes BatchNorm's scale at 1: it is no longer trained.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            _fill(module, how)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.requires_grad_(gamma)


def _fill(layer: nn.Conv2d | nn.Linear, how: Initialization) -> None:
    fan_in, fan_out = _fans(layer)
    if how == "glorot":
        limit = math.sqrt(6 / (fan_in + fan_out))
        nn.init.uniform_(layer.weight, -limit, limit)
        return
    deviation = math.sqrt(2 / fan_in) / _TRUNCATED_DEVIATION
    nn.init.trunc_normal_(layer.weight, 0, deviation, -2 * deviation, 2 * deviation)


def _fans(layer: nn.Conv2d | nn.Linear) -> tuple[int, int]:
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    pixels = math.prod(layer.kernel_size)
    return pixels * layer.in_channels, pixels * (layer.out_channels // layer.groups)
