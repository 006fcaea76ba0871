"""A detector in the manner of YOLOv8: C2f, SPPF, nearest upsampling, and a DFL head.

The layout is that of the published family (Jocher et al., Ultralytics YOLOv8, 2023; the head's
distributions are those of Li et al., *Generalized focal loss*, 2020), in a size of our own for
canvases of 64 x 64 pixels: two levels, of strides 4 and 8, ReLU6 in the place of SiLU. What reads
the answer decodes it (:mod:`edgeq.tasks.decoders`), so that boxes and scores leave the network on
grids of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

REG_MAX = 8
"""Bins of the distance from an anchor to each side of its box, in strides."""
_PRIOR = 0.01  # of a class at an anchor, before training


class Conv(nn.Sequential):
    """Convolution, BatchNorm and ReLU6; (n, before, h, w) to (n, after, h / stride, w / stride)."""

    def __init__(self, before: int, after: int, size: int = 1, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(before, after, size, stride, size // 2, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU6(),
        )


class Bottleneck(nn.Module):
    """Two 3 x 3 convolutions, and the input again where ``shortcut`` says so."""

    def __init__(self, channels: int, *, shortcut: bool) -> None:
        super().__init__()
        self.first, self.second = Conv(channels, channels, 3), Conv(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) to the same."""
        y: Tensor = self.second(self.first(x))
        return x + y if self.shortcut else y


class C2f(nn.Module):
    """Split in two, bottlenecks behind the second half, and all that came up joined."""

    def __init__(self, before: int, after: int, depth: int = 1, *, shortcut: bool = False) -> None:
        super().__init__()
        self.width = after // 2
        self.enter = Conv(before, 2 * self.width)
        self.blocks = nn.ModuleList(Bottleneck(self.width, shortcut=shortcut) for _ in range(depth))
        self.leave = Conv((2 + depth) * self.width, after)

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, h, w) to (n, after, h, w)."""
        y = self.enter(x)
        parts = [y[:, : self.width], y[:, self.width :]]
        for block in self.blocks:
            parts.append(block(parts[-1]))
        z: Tensor = self.leave(torch.cat(parts, 1))
        return z


class SPPF(nn.Module):
    """Three 5 x 5 max pools after each other, and all four joined."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.enter, self.leave = Conv(channels, half), Conv(4 * half, channels)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) to the same."""
        first = self.enter(x)
        second = self.pool(first)
        third = self.pool(second)
        y: Tensor = self.leave(torch.cat((first, second, third, self.pool(third)), 1))
        return y


class Head(nn.Module):
    """Boxes and scores at one level."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.boxes = nn.Sequential(Conv(channels, channels, 3), nn.Conv2d(channels, 4 * REG_MAX, 1))
        self.scores = nn.Sequential(Conv(channels, channels, 3), nn.Conv2d(channels, classes, 1))
        nn.init.constant_(_bias(self.boxes), 1.0)
        nn.init.constant_(_bias(self.scores), _logit(_PRIOR))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, channels, h, w) to (n, 4 * REG_MAX, h, w) and (n, classes, h, w), both logits."""
        return self.boxes(x), self.scores(x)


class Yolo(nn.Module):
    """The detector.

    Args:
        classes: of the objects.
        in_channels: of the image.
        widths: channels at strides 2, 4 and 8.
        depth: bottlenecks of each C2f.
    """

    def __init__(
        self,
        *,
        classes: int,
        in_channels: int = 3,
        widths: Sequence[int] = (16, 32, 64),
        depth: int = 1,
    ) -> None:
        super().__init__()
        two, four, eight = widths
        self.stem = Conv(in_channels, two, 3, 2)
        self.down4 = nn.Sequential(Conv(two, four, 3, 2), C2f(four, four, depth, shortcut=True))
        self.down8 = nn.Sequential(
            Conv(four, eight, 3, 2), C2f(eight, eight, depth, shortcut=True), SPPF(eight)
        )
        self.join4 = C2f(eight + four, four, depth)
        self.down = Conv(four, four, 3, 2)
        self.join8 = C2f(four + eight, eight, depth)
        self.head4, self.head8 = Head(four, classes), Head(eight, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The raw answers, finest level first.

        (n, in_channels, h, w) to boxes (n, 4 * REG_MAX, h/4, w/4) and scores (n, classes, h/4,
        w/4), then both at stride 8. Channel ``side * REG_MAX + bin`` of the boxes is a bin's logit
        of the distance to the left, top, right or bottom.
        """
        four = self.down4(self.stem(x))
        eight = self.down8(four)
        upsampled = F.interpolate(eight, scale_factor=(2.0, 2.0), mode="nearest")
        fine = self.join4(torch.cat((upsampled, four), 1))
        coarse = self.join8(torch.cat((self.down(fine), eight), 1))
        boxes4, scores4 = self.head4(fine)
        boxes8, scores8 = self.head8(coarse)
        return boxes4, scores4, boxes8, scores8


def _bias(branch: nn.Sequential) -> Tensor:
    """Of the last convolution of a branch."""
    return branch[-1].get_parameter("bias")


def _logit(share: float) -> float:
    return float(torch.logit(torch.tensor(share)))
