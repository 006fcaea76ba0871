"""A U-Net: down by max pooling, up by nearest upsampling, and what came down joined on the way up.

Ronneberger, Fischer and Brox, *U-Net: Convolutional networks for biomedical image segmentation*,
2015, in a size of our own, with padded convolutions and BatchNorm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence


class Block(nn.Sequential):
    """Two 3 x 3 convolutions, BatchNorm and ReLU; (n, before, h, w) to (n, after, h, w)."""

    def __init__(self, before: int, after: int) -> None:
        layers = [
            layer
            for channels in (before, after)
            for layer in (
                nn.Conv2d(channels, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            )
        ]
        super().__init__(*layers)


class UNet(nn.Module):
    """The network.

    Args:
        classes: of a pixel.
        in_channels: of the image.
        widths: channels at each size, the largest first; each size is half the one before.
    """

    def __init__(
        self, *, classes: int, in_channels: int = 3, widths: Sequence[int] = (8, 16, 32, 48)
    ) -> None:
        super().__init__()
        before = (in_channels, *widths)
        self.down = nn.ModuleList(
            Block(one, other) for one, other in zip(before[:-1], widths, strict=True)
        )
        self.up = nn.ModuleList(
            Block(coarse + fine, fine)
            for coarse, fine in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to scores (n, classes, h, w); h and w are multiples of 8."""
        kept = []
        for block in self.down[:-1]:
            kept.append(block(x))
            x = self.pool(kept[-1])
        x = self.down[-1](x)
        for block, fine in zip(self.up, reversed(kept), strict=True):
            larger = F.interpolate(x, scale_factor=(2.0, 2.0), mode="nearest")
            x = block(torch.cat((larger, fine), 1))
        scores: Tensor = self.head(x)
        return scores
