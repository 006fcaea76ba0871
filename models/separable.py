"""Networks that quantise poorly: MobileNet-V1 for CIFAR-10, and one per kind of convolution.

Yun and Wong, "Do all MobileNets quantize poorly? Gaining insights into the effect of quantization
on depthwise separable convolutional networks through the eyes of multi-scale distributional
dynamics" (2021). Their MobileNet-V1 (Howard et al., 2017) keeps the stem's stride of 2 and drops
two of the four later ones, so that 32x32 pixels become 4x4. Their two small networks differ in one
thing: DWS-ConvNet has a depthwise and a 1x1 convolution wherever Regular-ConvNet has a 3x3 one, but
for the first. The figure with the small networks' sizes could not be read; the widths here are
ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from edgeq.models.initialization import Initialization, initialize_like_tensorflow
from edgeq.models.resnet import Stem

if TYPE_CHECKING:
    from collections.abc import Sequence

Convolution = Literal["regular", "depthwise"]

MOBILENET = (
    (64, 1),
    (128, 1),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 1),
    (1024, 1),
)
"""Channels and stride of each pair of layers of MobileNet-V1 for 32x32 pixels."""
SMALL = ((64, 2), (64, 1), (128, 2), (128, 1), (256, 2))
"""Of the layers behind the first of the two small networks."""
HIDDEN = 256
DROPOUT = 0.5


class Regular(nn.Module):
    """3x3 convolution, BatchNorm and ReLU."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(after)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, h, w) to (n, after, ceil(h/stride), ceil(w/stride))."""
        y: Tensor = self.relu(self.bn(self.conv(x)))
        return y


class Separable(nn.Module):
    """3x3 depthwise and 1x1 convolution, BatchNorm and ReLU behind each."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(before, before, 3, stride, padding=1, groups=before, bias=False)
        self.bn1 = nn.BatchNorm2d(before)
        self.relu1 = nn.ReLU()
        self.pointwise = nn.Conv2d(before, after, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, h, w) to (n, after, ceil(h/stride), ceil(w/stride))."""
        y = self.relu1(self.bn1(self.depthwise(x)))
        z: Tensor = self.relu2(self.bn2(self.pointwise(y)))
        return z


class ConvNet(nn.Module):
    """A regular convolution, a stack of one kind, the mean over the image, linear layers.

    Args:
        convolution: the kind.
        layers: channels and stride of each.
        classes: how many outputs.
        in_channels: of the image; 3 for colour.
        stem_stride: of the first convolution.
        hidden: widths of fully connected layers before the last, each with ReLU and dropout.
        initialization: of all weights.
        gamma: whether BatchNorm's scale is trained.
    """

    def __init__(
        self,
        convolution: Convolution,
        layers: Sequence[tuple[int, int]],
        *,
        classes: int,
        in_channels: int = 3,
        stem_stride: int = 1,
        hidden: Sequence[int] = (),
        initialization: Initialization = "glorot",
        gamma: bool = True,
    ) -> None:
        super().__init__()
        kind = Regular if convolution == "regular" else Separable
        before = 32
        self.stem = Stem(in_channels, before, stem_stride)
        self.layers = nn.Sequential()
        for after, stride in layers:
            self.layers.append(kind(before, after, stride))
            before = after
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.hidden = nn.Sequential()
        for width in hidden:
            self.hidden.append(
                nn.Sequential(nn.Linear(before, width), nn.ReLU(), nn.Dropout(DROPOUT))
            )
            before = width
        self.classifier = nn.Linear(before, classes)
        initialize_like_tensorflow(self, initialization, gamma=gamma)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to logits, (n, classes)."""
        y = self.flatten(self.pool(self.layers(self.stem(x))))
        logits: Tensor = self.classifier(self.hidden(y))
        return logits


def mobilenet_v1(
    *,
    classes: int,
    in_channels: int = 3,
    initialization: Initialization = "glorot",
    gamma: bool = True,
) -> ConvNet:
    """MobileNet-V1 for 32x32 pixels."""
    return ConvNet(
        "depthwise",
        MOBILENET,
        classes=classes,
        in_channels=in_channels,
        stem_stride=2,
        initialization=initialization,
        gamma=gamma,
    )


def small(
    convolution: Convolution,
    *,
    classes: int,
    in_channels: int = 3,
    initialization: Initialization = "glorot",
    gamma: bool = True,
) -> ConvNet:
    """Regular-ConvNet or DWS-ConvNet."""
    return ConvNet(
        convolution,
        SMALL,
        classes=classes,
        in_channels=in_channels,
        hidden=(HIDDEN,),
        initialization=initialization,
        gamma=gamma,
    )
