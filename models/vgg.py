"""VGG-19: sixteen 3x3 convolutions in five stages with max pooling, and linear layers.

Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition" (2015),
Table 1, column E: biases and no BatchNorm. Beside it the version that is common for small images:
BatchNorm behind each convolution, no biases, one fully connected layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from edgeq.models.resnet import initialize

if TYPE_CHECKING:
    from collections.abc import Sequence

STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and number of the convolutions of each stage."""
HIDDEN = 4096
DROPOUT = 0.5


class VGG(nn.Module):
    """VGG-19, for images of any size that five halvings leave something of.

    Args:
        classes: how many outputs.
        in_channels: of the image; 3 for colour.
        image_size: height and width; the published one is 224 x 224.
        batch_norm: the version for small images.
        hidden: widths of the fully connected layers before the last, each with ReLU and dropout.
        stages: channels and number of convolutions.
    """

    def __init__(
        self,
        *,
        classes: int,
        in_channels: int = 3,
        image_size: tuple[int, int] = (224, 224),
        batch_norm: bool = False,
        hidden: Sequence[int] = (HIDDEN, HIDDEN),
        stages: Sequence[tuple[int, int]] = STAGES,
    ) -> None:
        super().__init__()
        self.stages = nn.Sequential()
        before = in_channels
        for width, count in stages:
            stage = nn.Sequential()
            for _ in range(count):
                stage.append(_convolution(before, width, batch_norm=batch_norm))
                before = width
            self.stages.append(stage.append(nn.MaxPool2d(2)))
        self.flatten = nn.Flatten()
        height, width = (size >> len(stages) for size in image_size)
        before *= height * width
        self.hidden = nn.Sequential()
        for width in hidden:
            self.hidden.append(
                nn.Sequential(nn.Linear(before, width), nn.ReLU(), nn.Dropout(DROPOUT))
            )
            before = width
        self.classifier = nn.Linear(before, classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to logits, (n, classes)."""
        logits: Tensor = self.classifier(self.hidden(self.flatten(self.stages(x))))
        return logits


def _convolution(before: int, after: int, *, batch_norm: bool) -> nn.Sequential:
    conv = nn.Conv2d(before, after, 3, padding=1, bias=not batch_norm)
    return (
        nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU())
        if batch_norm
        else nn.Sequential(conv, nn.ReLU())
    )
