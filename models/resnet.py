"""The residual networks for small images that everything else is compared with.

He, Zhang, Ren, Sun, "Deep residual learning for image recognition" (2016), Sec. 4.2: a 3x3 stem,
three stages of ``n`` basic blocks with 16, 32 and 64 channels, global average pooling and one
linear layer; depth ``6n + 2``. Table 1 of the same paper has the four wider stages of ResNet-18,
ResNet-34 and ResNet-50; for small images they keep the 3x3 stem.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

Shortcut = Literal["projection", "pad"]
Block = Literal["basic", "bottleneck"]
WIDTHS = (16, 32, 64)
WIDE = (64, 128, 256, 512)
"""Channels of the stages of ResNet-18, ResNet-34 and, inside its blocks, ResNet-50."""


class Stem(nn.Module):
    """3x3 convolution, BatchNorm and ReLU, from the image to the first width."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, ceil(h/stride), ceil(w/stride))."""
        y: Tensor = self.relu(self.bn(self.conv(x)))
        return y


class ProjectionShortcut(nn.Module):
    """1x1 convolution and BatchNorm, with stride 2 where the image is halved.

    Option B of He et al., only where the shape changes.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, ceil(h/stride), ceil(w/stride))."""
        y: Tensor = self.bn(self.conv(x))
        return y


class PadShortcut(nn.Module):
    """Every second pixel, with zero channels on both sides.

    Option A of He et al., which has no parameter.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.before = (out_channels - in_channels) // 2
        self.after = out_channels - in_channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, ceil(h/2), ceil(w/2))."""
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.before, self.after))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the second ReLU stands after their sum."""

    def __init__(self, in_channels: int, out_channels: int, shortcut: Shortcut) -> None:
        super().__init__()
        grows = in_channels != out_channels
        self.conv1 = nn.Conv2d(
            in_channels, out_channels, 3, stride=2 if grows else 1, padding=1, bias=False
        )
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = _shortcut(shortcut, in_channels, out_channels) if grows else None
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, h', w'), halved where channels grow."""
        inner = self.relu1(self.bn1(self.conv1(x)))
        beside = x if self.shortcut is None else self.shortcut(x)
        y: Tensor = self.relu2(self.bn2(self.conv2(inner)) + beside)
        return y


def _shortcut(kind: Shortcut, in_channels: int, out_channels: int) -> nn.Module:
    return (ProjectionShortcut if kind == "projection" else PadShortcut)(in_channels, out_channels)


class Bottleneck(nn.Module):
    """A 3x3 convolution between two of 1x1, the second of which has four times the channels.

    Figure 5 of He et al. The stride is that of the 3x3 convolution, as in the weights that are
    published today, and not of the first one as in the paper.
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = self.expansion * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        grows = in_channels != out_channels
        self.shortcut = ProjectionShortcut(in_channels, out_channels, stride) if grows else None
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, 4 * width, ceil(h/stride), ceil(w/stride))."""
        inner = self.relu1(self.bn1(self.conv1(x)))
        inner = self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(inner)))))
        beside = x if self.shortcut is None else self.shortcut(x)
        y: Tensor = self.relu3(inner + beside)
        return y


class ResNet(nn.Module):
    """ResNet-(6n+2), or ResNet-18, ResNet-34 and ResNet-50, for small images.

    Args:
        blocks: how many blocks a stage has (n), or each of the stages.
        classes: how many outputs.
        in_channels: of the image; 3 for colour.
        shortcut: ``"projection"`` (option B) or ``"pad"`` (option A), of basic blocks.
        widths: channels of the stages; each is the one before it, or larger.
        block: ``"basic"``, or ``"bottleneck"``, whose stages end in four times the channels.
    """

    def __init__(
        self,
        blocks: int | Sequence[int],
        *,
        classes: int,
        in_channels: int = 3,
        shortcut: Shortcut = "projection",
        widths: tuple[int, ...] = WIDTHS,
        block: Block = "basic",
    ) -> None:
        super().__init__()
        self.stem = Stem(in_channels, widths[0])
        self.stages = nn.Sequential()
        before = widths[0]
        for width, count in zip(widths, each_stage(blocks, widths), strict=True):
            stage = nn.Sequential()
            for place in range(count):
                if block == "bottleneck":
                    halved = place == 0 and width != widths[0]
                    stage.append(Bottleneck(before, width, stride=2 if halved else 1))
                    before = Bottleneck.expansion * width
                else:
                    stage.append(BasicBlock(before, width, shortcut))
                    before = width
            self.stages.append(stage)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(before, classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to logits, (n, classes)."""
        logits: Tensor = self.classifier(self.flatten(self.pool(self.stages(self.stem(x)))))
        return logits


def each_stage(blocks: int | Sequence[int], widths: Sequence[int]) -> Sequence[int]:
    """The number of blocks of each stage, where one number may stand for all."""
    return (blocks,) * len(widths) if isinstance(blocks, int) else blocks


@torch.no_grad()
def initialize(network: nn.Module) -> None:
    """He initialisation of every convolution (normal, by fan-out); BatchNorm is the identity.

    The fan-out of a grouped convolution is that of one group. A transposed convolution is left
    alone, since in these networks it has the weight of a convolution.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels // module.groups * math.prod(module.kernel_size)
            nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
