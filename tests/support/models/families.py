"""Small networks in the manner of the families that people train.

Their blocks and their spellings, not their sizes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from tests.support.models.blocks import (
    CLASSES,
    Bottleneck,
    ConvNext,
    DenseLayer,
    Ghost,
    Head,
    Inception,
    Indexed,
    Interpolating,
    Inverted,
    LayerScale,
    NormAct,
    PreActivated,
    RepVgg,
    Res2,
    SamePadded,
    Shuffle,
    Spelled,
    Twice,
    conv_bn,
)
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable


class Unet(nn.Module):
    """As in U-Net: scale down and up again, by a module and by a size, and concatenate."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.deep = (
            conv_bn(channels, channels, stride=2),
            conv_bn(channels, channels, stride=2),
        )
        self.up, self.join, self.last = (
            nn.Upsample(scale_factor=2),
            conv_bn(2 * channels, channels),
            conv_bn(2 * channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        half = self.down(x)
        y = self.join(torch.cat([half, self.up(self.deep(half))], 1))
        out: Tensor = self.last(torch.cat([x, F.interpolate(y, size=x.shape[2:])], 1))
        return out


class Normalizing(nn.Module):
    """Images that are normalised inside, by buffers, as others do outside."""

    mean: Tensor
    std: Tensor

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("mean", torch.tensor([0.4, -0.5, 0.6]))
        self.register_buffer("std", torch.tensor([0.2, 0.3, 0.25]).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner((x / 2 - self.mean[None, :, None, None]) / self.std)
        return out


class Mixer(nn.Module):
    """Linear layers on pixels as in ConvNeXt, on tokens and across them as in MLP-Mixer."""

    def __init__(self, channels: int, places: int) -> None:
        super().__init__()
        self.wide, self.narrow, self.drop = (
            nn.Linear(channels, 16),
            nn.Linear(16, channels),
            nn.Dropout(0.1),
        )
        self.across = nn.Linear(places, places, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.narrow(self.drop(F.gelu(self.wide(x.permute(0, 2, 3, 1))))).permute(0, 3, 1, 2)
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.narrow(torch.relu(self.wide(tokens)))
        tokens = tokens + self.across(tokens.transpose(1, 2)).transpose(1, 2)
        out: Tensor = tokens.transpose(1, 2).reshape(x.shape) * tokens.mean(1)[:, :, None, None]
        return out


class Vgg(nn.Module):
    """Convolutions with biases, adaptive pooling, functional drop-out, and reshape."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(True),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(True),
        )
        self.pool = nn.AdaptiveAvgPool2d((4, 4))
        self.hidden, self.last = nn.Linear(8 * 16, 16), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.features(x))
        x = x.reshape(x.shape[0], -1)
        out: Tensor = self.last(F.dropout(F.relu(self.hidden(x)), 0.5, self.training))
        return out


class Auxiliary(nn.Module):
    """A second head that only training has, and an argument that only some callers give."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head, self.aux = conv_bn(3, 8), Head(8), Head(8)

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Any:
        x = self.stem(x)
        if scale is not None:
            x = x * scale
        return (self.head(x), self.aux(x)) if self.training else self.head(x)


def plain(
    *blocks: nn.Module, channels: int = 8, stem: nn.Module | None = None, out: int | None = None
) -> nn.Sequential:
    """A stem of stride 2, blocks and a head."""
    return nn.Sequential(stem or conv_bn(3, channels, stride=2), *blocks, Head(out or channels))


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "resnext": lambda: plain(Bottleneck(8), Bottleneck(8)),
    "resnetv2": lambda: plain(PreActivated(8), PreActivated(8), nn.BatchNorm2d(8), nn.ReLU()),
    "densenet": lambda: plain(
        DenseLayer(8),
        DenseLayer(12),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 8, 1),
        nn.AvgPool2d(2),
    ),
    "vgg": Vgg,
    "mobilenetv3": lambda: plain(
        Inverted(8, nn.Hardswish, nn.Hardsigmoid), stem=conv_bn(3, 8, stride=2, act=nn.Hardswish)
    ),
    "efficientnet": lambda: plain(
        Inverted(8, nn.SiLU, nn.Sigmoid), stem=conv_bn(3, 8, stride=2, act=nn.SiLU)
    ),
    "efficientnet-lite": lambda: plain(
        conv_bn(8, 8, groups=8, act=nn.ReLU6), conv_bn(8, 8, 1, act=None)
    ),
    "inception": lambda: plain(Inception(8), out=14),
    "repvgg": lambda: plain(RepVgg(8), RepVgg(8)),
    "ghostnet": lambda: plain(Ghost(8), Ghost(8)),
    "shufflenet": lambda: plain(Shuffle(8), Shuffle(8)),
    "res2net": lambda: plain(Res2(8)),
    "darknet": lambda: plain(conv_bn(8, 8, act=nn.LeakyReLU), nn.MaxPool2d(2)),
    "norm-act": lambda: plain(nn.Conv2d(8, 8, 3, bias=False), NormAct(8)),
    "same": lambda: plain(
        SamePadded(8, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 2, padding="same"), nn.ReLU6()
    ),
    "twice": lambda: plain(Twice(8)),
    "ceil": lambda: plain(nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(2, 2, ceil_mode=True)),
    "auxiliary": Auxiliary,
    "unet": lambda: plain(Unet(8)),
    "super resolution": lambda: plain(conv_bn(8, 32), nn.PixelShuffle(2), conv_bn(8, 8)),
    "interpolating": lambda: plain(Interpolating(8)),
    "normalizing": lambda: Normalizing(plain()),
    "layer scale": lambda: plain(LayerScale(8), nn.ReLU()),
    "mixer": lambda: plain(Mixer(8, 64)),
    "norms of features": lambda: nn.Sequential(
        *(
            nn.Flatten(),
            nn.BatchNorm1d(768),
            nn.Linear(768, 16),
            nn.ReLU(),
            nn.BatchNorm1d(16),
            nn.Linear(16, 5),
            nn.BatchNorm1d(5),
        )
    ),
    "indexed": lambda: plain(Indexed(8)),
    "gelu": lambda: plain(conv_bn(8, 8, act=nn.GELU), conv_bn(8, 8, act=nn.Tanh)),
    "elu": lambda: plain(
        conv_bn(8, 8, act=nn.ELU), conv_bn(8, 8, act=nn.PReLU), conv_bn(8, 8, act=nn.Softplus)
    ),
    "mish": lambda: plain(
        conv_bn(8, 8, act=nn.Mish), conv_bn(8, 8, act=nn.Hardtanh), conv_bn(8, 8, act=nn.CELU)
    ),
    "swish by hand": lambda: plain(Spelled(8, lambda x: x * torch.sigmoid(x))),
    "hard swish by hand": lambda: plain(Spelled(8, lambda x: x * F.relu6(x + 3) / 6)),
    "mish by hand": lambda: plain(Spelled(8, lambda x: x * torch.tanh(F.softplus(x)))),
    "halved": lambda: plain(Spelled(8, lambda x: (x.relu() * 0.5).clamp(0, 1.5))),
}
"""A network for each family or form; all read (3, 16, 16)."""

PARTLY_FLOAT: dict[str, Callable[[], nn.Module]] = {
    "convnext": lambda: plain(ConvNext(8), ConvNext(8))
}
"""Networks that hold what no integer kernel computes; all read (3, 16, 16)."""
