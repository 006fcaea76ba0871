"""Residual networks whose blocks are steps of a symmetric, heat-like equation, so that rounding errors do not grow.

Ben-Yair, Eliasof, Treister, "Quantized convolutional neural networks through the lens of partial differential equations"
(2022). Eq. 2 is the step ``x - h K^T f(K x)``: with one operator ``K`` and its adjoint its Jacobian is symmetric, and does not
expand while ``h ||K||^2 <= 2``. Eq. 22 is how such a network gains channels without another operator: it appends a copy
of the first ones.

The networks here have the layout of the authors' released code, which adds to those equations: a BatchNorm after ``K``
and a second one after ``K^T``; an outer ReLU around the step; a constant ``h = 0.1`` that is not held against ``||K||``; and
average pooling by 2 after the concatenation. The second BatchNorm scales the channels, so a trained block is symmetric only
in a weighted inner product, and only while the scales of both BatchNorms are not negative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from edgeq.models.resnet import WIDTHS, Stem, initialize

if TYPE_CHECKING:
    from collections.abc import Callable

STEP_SIZE = 0.1


class StableBlock(nn.Module):
    """``y = ReLU(x - h BN2(K^T ReLU(BN1(K x))))``, then, where channels grow, ``pool(cat[y, x])``.

    ``K^T`` is a transposed convolution that has the very parameter of the convolution ``K``; it keeps it when the block
    is copied, moved or loaded.

    Args:
        in_channels: of the input, and of ``K``.
        out_channels: at most twice as many; where there are more, the first channels of ``x`` are appended to ``y`` and
            height and width are halved.
        step_size: ``h``.
    """

    def __init__(self, in_channels: int, out_channels: int, step_size: float = STEP_SIZE) -> None:
        super().__init__()
        self.step_size = step_size
        self.extra_channels = out_channels - in_channels
        self.conv = nn.Conv2d(in_channels, in_channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv_transpose = nn.ConvTranspose2d(in_channels, in_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(in_channels)
        self.relu2 = nn.ReLU()
        self.pool = nn.AvgPool2d(2) if self.extra_channels else None
        self._tie()
        self.register_load_state_dict_post_hook(_tie_again)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, h', w'), of half the size where the channels grow."""
        inner = self.relu1(self.bn1(self.conv(x)))
        y: Tensor = self.relu2(x - self.step_size * self.bn2(self.conv_transpose(inner)))
        if self.pool is not None:
            y = self.pool(torch.cat([y, x[:, : self.extra_channels]], 1))
        return y

    def _tie(self) -> None:
        self.conv_transpose.weight = self.conv.weight

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert, and tie again: PyTorch makes two parameters of one where it cannot change them in place."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._tie()
        return self


def _tie_again(block: nn.Module, _keys: object) -> None:
    """After ``load_state_dict(assign=True)``, which puts another tensor into each module."""
    if isinstance(block, StableBlock):
        block._tie()


class StableResNet(nn.Module):
    """Stable ResNet-(6n+2): half the weights of the ResNet of the same depth.

    Args:
        blocks: how many blocks a stage has (n).
        classes: how many outputs.
        in_channels: of the image; 3 for colour.
        step_size: ``h`` of every block.
        widths: channels of the stages; each is the one before it, or up to twice that.
    """

    def __init__(
        self,
        blocks: int,
        *,
        classes: int,
        in_channels: int = 3,
        step_size: float = STEP_SIZE,
        widths: tuple[int, ...] = WIDTHS,
    ) -> None:
        super().__init__()
        self.stem = Stem(in_channels, widths[0])
        self.stages = nn.Sequential()
        before = widths[0]
        for width in widths:
            first = StableBlock(before, width, step_size)
            self.stages.append(nn.Sequential(first, *(StableBlock(width, width, step_size) for _ in range(blocks - 1))))
            before = width
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(before, classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to logits, (n, classes)."""
        logits: Tensor = self.classifier(self.flatten(self.pool(self.stages(self.stem(x)))))
        return logits
