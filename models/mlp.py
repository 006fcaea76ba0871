"""Fully connected networks for small grey images.

Plain ones of several depths, and the one that BinaryConnect was shown on.

Courbariaux, Bengio, David, "BinaryConnect: training deep neural networks with binary weights during
propagations" (2015), Sec. 3.1: three hidden layers of 1024 ReLUs, BatchNorm behind every layer, the
last one too.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

WIDTH = 256


class MLP(nn.Module):
    """Flatten, then linear layers with ReLU between them.

    Args:
        depth: layers with weights.
        width: of the hidden ones.
        classes: how many outputs.
        in_channels: of the image; 1 for grey.
        image_size: height and width.
        batch_norm: BatchNorm behind every layer, whose bias it replaces.
        signed: leave out the ReLU in front of inner layers, for quantisers that make signs of what
            those read (Rastegari et al., XNOR-Net, 2016: BatchNorm, sign, layer); the one in front
            of the last layer stays.
    """

    def __init__(
        self,
        depth: int,
        width: int = WIDTH,
        *,
        classes: int,
        in_channels: int = 1,
        image_size: tuple[int, int] = (28, 28),
        batch_norm: bool = False,
        signed: bool = False,
    ) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.layers = nn.Sequential()
        before = in_channels * math.prod(image_size)
        for index in range(depth - 1):
            activation = [] if signed and index < depth - 2 else [nn.ReLU()]
            self.layers.append(
                nn.Sequential(*_layer(before, width, batch_norm=batch_norm), *activation)
            )
            before = width
        self.classifier = nn.Sequential(*_layer(before, classes, batch_norm=batch_norm))
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to logits, (n, classes)."""
        logits: Tensor = self.classifier(self.layers(self.flatten(x)))
        return logits


def _layer(before: int, after: int, *, batch_norm: bool) -> list[nn.Module]:
    linear = nn.Linear(before, after, bias=not batch_norm)
    return [linear, nn.BatchNorm1d(after)] if batch_norm else [linear]


@torch.no_grad()
def _initialize(network: nn.Module) -> None:
    """Glorot's uniform initialisation with BatchNorm, as BinaryConnect; He's without.

    Without BatchNorm, Glorot's would let signals fade with depth.
    """
    plain = not any(isinstance(module, nn.BatchNorm1d) for module in network.modules())
    for module in network.modules():
        if isinstance(module, nn.Linear):
            if plain:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
            else:
                nn.init.xavier_uniform_(module.weight)
