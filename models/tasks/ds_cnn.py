"""A DS-CNN for keywords: a convolution over time and features, then depthwise separable ones.

In the manner of the small one of Zhang, Suda, Lai and Chandra, *Hello edge: Keyword spotting on
microcontrollers*, 2017: a 10 x 4 convolution of stride 2, and four separable layers of 64 channels.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgeq.models.separable import Separable


class DsCnn(nn.Module):
    """The network.

    Args:
        classes: how many keywords.
        in_channels: of the features.
        width: channels of all layers.
        depth: separable layers.
    """

    def __init__(
        self, *, classes: int, in_channels: int = 1, width: int = 64, depth: int = 4
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, (10, 4), 2, (5, 1), bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.layers = nn.Sequential(*(Separable(width, width, 1) for _ in range(depth)))
        self.pool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, steps, features) to logits (n, classes)."""
        logits: Tensor = self.classifier(self.flatten(self.pool(self.layers(self.stem(x)))))
        return logits
