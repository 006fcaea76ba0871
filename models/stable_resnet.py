"""Residual networks whose blocks are steps of a symmetric, heat-like equation.

Rounding errors do not grow in them.

Ben-Yair, Eliasof, Treister, "Quantized convolutional neural networks through the lens of partial
differential equations" (2022). Eq. 2 is the step ``x - h K^T f(K x)``: with one operator ``K`` and
its adjoint its Jacobian is symmetric, and does not expand while ``h ||K||^2 <= 2``. Eq. 22 is how
such a network gains channels without another operator: it appends a copy of the first ones.

The networks here have the layout of the authors' released code, which adds to those equations: a
BatchNorm after ``K`` and a second one after ``K^T``; an outer ReLU around the step; a constant
``h = 0.1`` that is not held against ``||K||``; and average pooling by 2 after the concatenation.
The second BatchNorm scales the channels, so a trained block is symmetric only in a weighted inner
product, and only while the scales of both BatchNorms are not negative.

So there are two modes. ``paper`` is that layout. ``certified`` is without the second BatchNorm, and
the first one's scales are positive and divided by a bound on the norm of ``K`` at every step of
training, so that the step provably does not expand; how large it is, and how much each channel
counts, are learnt (:class:`edgeq.models.stability.step_bound.StepNorm`). Pooling, ReLU and the
concatenation that pooling follows do not expand either, so in evaluation none of its blocks lets an
error grow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeq.models.resnet import WIDTHS, Stem, each_stage, initialize
from edgeq.models.stability.symmetric import StepMode, SymmetricBlock, start_steps

if TYPE_CHECKING:
    from collections.abc import Sequence

STEP_SIZE = 0.1


class StableBlock(SymmetricBlock):
    """``y = ReLU(x - h BN2(K^T ReLU(BN1(K x))))``, then, where channels grow, ``pool(cat[y, x])``.

    ``K^T`` is a transposed convolution that has the very parameter of the convolution ``K``; it
    keeps it when the block is copied, moved or loaded.

    Args:
        in_channels: of the input, and of ``K``.
        out_channels: at most twice as many; where there are more, the first channels of ``x`` are
            appended to ``y`` and height and width are halved.
        step_size: ``h``.
        mode: ``certified`` leaves out ``BN2`` and keeps ``h L ||K'||^2 <= 2``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        step_size: float = STEP_SIZE,
        mode: StepMode = "paper",
    ) -> None:
        super().__init__(step_size, mode)
        self.extra_channels = out_channels - in_channels
        self.conv = nn.Conv2d(in_channels, in_channels, 3, padding=1, bias=False)
        self.bn1 = self.first_norm(in_channels)
        self.relu1 = nn.ReLU()
        self.conv_transpose = nn.ConvTranspose2d(in_channels, in_channels, 3, padding=1, bias=False)
        self.bn2 = self.second_norm(in_channels)
        self.relu2 = nn.ReLU()
        self.pool = nn.AvgPool2d(2) if self.extra_channels else None
        self.tie()

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, h', w'), halved where channels grow."""
        inner = self.relu1(self.bn1(self.conv(x)))
        y: Tensor = self.relu2(x - self.step_size * self.bn2(self.conv_transpose(inner)))
        if self.pool is not None:
            y = self.pool(torch.cat([y, x[:, : self.extra_channels]], 1))
        return y

    def tie(self) -> None:
        """Make ``K^T`` use the very parameter of ``K``."""
        self.conv_transpose.weight = self.conv.weight

    def kernels(self) -> Sequence[Tensor]:
        """The one convolution that is ``K``."""
        return (self.conv.weight,)


class StableResNet(nn.Module):
    """Stable ResNet-(6n+2), or stable ResNet-34.

    Half the weights of the ResNet of the same depth, or fewer.

    Args:
        blocks: how many blocks a stage has (n), or each of the stages.
        classes: how many outputs.
        in_channels: of the image; 3 for colour.
        step_size: ``h`` of every block.
        mode: of every block.
        widths: channels of the stages; each is the one before it, or up to twice that.
    """

    def __init__(
        self,
        blocks: int | Sequence[int],
        *,
        classes: int,
        in_channels: int = 3,
        step_size: float = STEP_SIZE,
        mode: StepMode = "paper",
        widths: tuple[int, ...] = WIDTHS,
    ) -> None:
        super().__init__()
        self.stem = Stem(in_channels, widths[0])
        self.stages = nn.Sequential()
        before = widths[0]
        for width, count in zip(widths, each_stage(blocks, widths), strict=True):
            first = StableBlock(before, width, step_size, mode)
            self.stages.append(
                nn.Sequential(
                    first, *(StableBlock(width, width, step_size, mode) for _ in range(count - 1))
                )
            )
            before = width
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(before, classes)
        initialize(self)
        start_steps(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to logits, (n, classes)."""
        logits: Tensor = self.classifier(self.flatten(self.pool(self.stages(self.stem(x)))))
        return logits
