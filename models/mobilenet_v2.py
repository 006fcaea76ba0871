"""MobileNetV2 for small images, and the two symmetric networks made of it.

Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks" (2018), Table 2, as
Ben-Yair, Eliasof, Treister, "Quantized convolutional neural networks through the lens of partial
differential equations" (2022) trained it: the layout that gives the parameter counts of their
Tables 1 and 2 has a stem of 16 channels and stride 1, three strides of 2, an expansion in every
block, ReLU, and no convolution beside a block.

Their stable block (Eq. 24) is ``x - h BN2(K1^T K2^T ReLU(BN1(K2 K1 x)))`` with the 1x1 convolution
``K1`` and the depthwise 3x3 one ``K2``, without padding, so that its adjoint is the transposed one
without padding. ``released`` makes only those blocks stable that keep shape and channels, which is
what the published counts have; ``paper`` makes all of them stable as the text says: one that gains
channels appends a copy of its first ones (Eq. 22), and one that halves the image averages over 2x2
pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeq.models.resnet import Stem, initialize
from edgeq.models.stability.symmetric import StepMode, SymmetricBlock, start_steps
from edgeq.models.stable_resnet import STEP_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

Layout = Literal["baseline", "released", "paper"]


class Stage(NamedTuple):
    """Blocks of the same width.

    Channels before and after, how many, stride of the first one, expansion.
    """

    before: int
    after: int
    blocks: int
    stride: int
    expansion: int


STAGES = (
    Stage(16, 16, 1, 1, 1),
    Stage(16, 24, 2, 1, 6),
    Stage(24, 32, 3, 2, 6),
    Stage(32, 64, 4, 2, 6),
    Stage(64, 96, 3, 1, 6),
    Stage(96, 160, 3, 2, 6),
    Stage(160, 320, 1, 1, 6),
)
LAST_WIDTH = 1280


class InvertedResidual(nn.Module):
    """Expand by a 1x1 convolution, filter each channel, project.

    Beside it the input, where the shapes are equal.
    """

    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = before * expansion
        self.conv1 = nn.Conv2d(before, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(inner, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.residual = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, h, w) to (n, after, ceil(h/stride), ceil(w/stride))."""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.relu2(self.bn2(self.conv2(y)))
        z: Tensor = self.bn3(self.conv3(y))
        return x + z if self.residual else z


class StableInvertedResidual(SymmetricBlock):
    """``x - h BN2(K1^T K2^T ReLU(BN1(K2 K1 x)))``.

    Where channels grow, ``cat[y, x]`` follows; where it strides, a mean over 2x2. Without that
    mean, the concatenation makes errors up to sqrt(2) times as large, so a certified block that
    does not stride appends channels of zeros instead.

    Args:
        before: channels of the input, and of ``K1``.
        after: at most twice as many.
        stride: 2 halves height and width.
        expansion: the inner channels are this many times those before.
        step_size: ``h``.
        mode: ``certified`` leaves out ``BN2`` and keeps ``h L ||K'||^2 <= 2``.
    """

    def __init__(
        self,
        before: int,
        after: int,
        stride: int,
        expansion: int,
        step_size: float = STEP_SIZE,
        mode: StepMode = "paper",
    ) -> None:
        super().__init__(step_size, mode)
        inner = before * expansion
        self.extra_channels = after - before
        self.conv1 = nn.Conv2d(before, inner, 1, bias=False)
        self.conv2 = nn.Conv2d(inner, inner, 3, groups=inner, bias=False)
        self.bn1 = self.first_norm(inner)
        self.relu1 = nn.ReLU()
        self.conv2_transpose = nn.ConvTranspose2d(inner, inner, 3, groups=inner, bias=False)
        self.conv1_transpose = nn.ConvTranspose2d(inner, before, 1, bias=False)
        self.bn2 = self.second_norm(before)
        self.pool = nn.AvgPool2d(2) if stride == 2 else None
        self.tie()

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, h, w) to (n, after, h // stride, w // stride); h and w at least 3."""
        inner = self.relu1(self.bn1(self.conv2(self.conv1(x))))
        y = x - self.step_size * self.bn2(self.conv1_transpose(self.conv2_transpose(inner)))
        if self.extra_channels and self.certified and self.pool is None:
            y = functional.pad(y, (0, 0, 0, 0, 0, self.extra_channels))
        elif self.extra_channels:
            y = torch.cat([y, x[:, : self.extra_channels]], 1)
        halved: Tensor = y if self.pool is None else self.pool(y)
        return halved

    def tie(self) -> None:
        """Make both adjoints use the very parameters of ``K1`` and ``K2``."""
        self.conv1_transpose.weight = self.conv1.weight
        self.conv2_transpose.weight = self.conv2.weight

    def kernels(self) -> Sequence[Tensor]:
        """The 1x1 convolution and the depthwise one, which are ``K``."""
        return self.conv1.weight, self.conv2.weight


class MobileNetV2(nn.Module):
    """The network, in one of its three layouts.

    Args:
        layout: which blocks are stable.
        classes: how many outputs.
        in_channels: of the image; 3 for colour.
        step_size: ``h`` of every stable block.
        mode: of every stable block.
        stages: its middle.
        last_width: channels before the mean.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        classes: int,
        in_channels: int = 3,
        step_size: float = STEP_SIZE,
        mode: StepMode = "paper",
        stages: Sequence[Stage] = STAGES,
        last_width: int = LAST_WIDTH,
    ) -> None:
        super().__init__()
        self.stem = Stem(in_channels, stages[0].before)
        self.stages = nn.Sequential()
        for stage in stages:
            blocks = nn.Sequential()
            for index in range(stage.blocks):
                before, stride = (stage.before, stage.stride) if index == 0 else (stage.after, 1)
                if layout == "paper" or (layout == "released" and index):
                    blocks.append(
                        StableInvertedResidual(
                            before, stage.after, stride, stage.expansion, step_size, mode
                        )
                    )
                else:
                    blocks.append(InvertedResidual(before, stage.after, stride, stage.expansion))
            self.stages.append(blocks)
        self.conv = nn.Conv2d(stages[-1].after, last_width, 1, bias=False)
        self.bn = nn.BatchNorm2d(last_width)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(last_width, classes)
        initialize(self)
        start_steps(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to logits, (n, classes)."""
        y = self.relu(self.bn(self.conv(self.stages(self.stem(x)))))
        logits: Tensor = self.classifier(self.flatten(self.pool(y)))
        return logits
