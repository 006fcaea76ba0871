"""Blocks of the families that people train: their structure, not their sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable


CLASSES = 5


def conv_bn(
    before: int,
    after: int,
    kernel: Any = 3,
    stride: int = 1,
    groups: int = 1,
    act: type[nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """The usual block; ``act`` None for none."""
    sizes = (kernel, kernel) if isinstance(kernel, int) else kernel
    layer = nn.Conv2d(
        before, after, sizes, stride, (sizes[0] // 2, sizes[1] // 2), groups=groups, bias=False
    )
    return nn.Sequential(layer, nn.BatchNorm2d(after), *([act()] if act is not None else []))


class Head(nn.Module):
    """Global mean by method, flattened by view."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.mean((2, 3), keepdim=True)
        out: Tensor = self.fc(x.view(x.size(0), -1))
        return out


class SqueezeExcite(nn.Module):
    """Channels weighted by what their means say."""

    def __init__(self, channels: int, gate: type[nn.Module]) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)
        self.act, self.gate = nn.ReLU(inplace=True), gate()

    def forward(self, x: Tensor) -> Tensor:
        weights = self.expand(self.act(self.reduce(x.mean((2, 3), keepdim=True))))
        out: Tensor = x * self.gate(weights)
        return out


class DropPath(nn.Module):
    """Stochastic depth."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(1 - self.probability).div_(
            1 - self.probability
        )


class Inverted(nn.Module):
    """MobileNetV3's and EfficientNet's block."""

    def __init__(self, channels: int, act: type[nn.Module], gate: type[nn.Module]) -> None:
        super().__init__()
        wide = 2 * channels
        self.expand, self.depthwise = (
            conv_bn(channels, wide, 1, act=act),
            conv_bn(wide, wide, groups=wide, act=act),
        )
        self.se, self.project, self.drop = (
            SqueezeExcite(wide, gate),
            conv_bn(wide, channels, 1, act=None),
            DropPath(0.2),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.drop(self.project(self.se(self.depthwise(self.expand(x))))) + x
        return out


class DenseLayer(nn.Module):
    """DenseNet's: normalises first, then joins what it read."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(before), nn.Conv2d(before, 8, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x), inplace=True))
        return torch.cat([x, self.conv2(F.relu(self.norm2(y)))], 1)


class PreActivated(nn.Module):
    """ResNet's second version."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.conv = (
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, channels, 3, padding="same"),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv(torch.relu(self.norm(x)))
        return out


class Bottleneck(nn.Module):
    """ResNeXt's, with the sum in place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_bn(channels, 8, 1), conv_bn(8, 8, groups=4), conv_bn(8, channels, 1, act=None)
        )
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.body(x)
        x += shortcut
        out: Tensor = self.act(x)
        return out


class RepVgg(nn.Module):
    """Three branches, one of them a BatchNorm alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.wide, self.narrow, self.plain = (
            conv_bn(channels, channels, act=None),
            conv_bn(channels, channels, 1, act=None),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.wide(x) + self.narrow(x) + self.plain(x))


class Ghost(nn.Module):
    """GhostNet's: cheap features joined, surplus cut off."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.primary, self.cheap = (
            conv_bn(channels, channels // 2 + 1, 1),
            conv_bn(channels // 2 + 1, channels // 2 + 1, groups=channels // 2 + 1),
        )
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.primary(x)
        return torch.cat([y, self.cheap(y)], dim=1)[:, : self.channels, :, :]


class Shuffle(nn.Module):
    """ShuffleNet's: half of the channels pass, then all are dealt out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = conv_bn(channels // 2, channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, dim=1)
        y = torch.cat((kept, self.branch(changed)), 1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)


class Inception(nn.Module):
    """Branches of kernels that are not square, and an average that counts zeros."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.point, self.pool = conv_bn(channels, 4, 1), conv_bn(channels, 4, 1)
        self.across, self.along = conv_bn(channels, 4, (1, 5)), conv_bn(4, 4, (5, 1))

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
        return torch.cat(
            [
                self.point(x),
                self.along(self.across(x)),
                self.pool(pooled),
                F.max_pool2d(x, 3, 1, 1)[:, :2],
            ],
            1,
        )


class Res2(nn.Module):
    """Res2Net's: parts of the channels, one after the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (
            conv_bn(channels // 4, channels // 4),
            conv_bn(channels // 4, channels // 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(x, x.shape[1] // 4, 1)
        one = self.first(parts[1])
        two = self.second(one + parts[2])
        return torch.cat([parts[0], one, two, parts[-1]], 1)


class NormAct(nn.BatchNorm2d):
    """A BatchNorm that brings its activation along, as timm's do."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.drop, self.act = nn.Identity(), nn.ReLU6(inplace=True)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # as torch calls it
        momentum = 0.0 if self.momentum is None else self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        torch._assert(input.ndim == 4, "images only")
        x = F.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            momentum,
            self.eps,
        )
        activated: Tensor = self.act(self.drop(x))
        return activated


class SamePadded(nn.Conv2d):
    """A convolution that pads as TensorFlow does, by sizes it asks for."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # as torch calls it
        x = input
        short = [max((-(-size // 2) - 1) * 2 + 3 - size, 0) for size in x.shape[-2:]]
        if any(short):
            x = F.pad(
                x,
                (short[1] // 2, short[1] - short[1] // 2, short[0] // 2, short[0] - short[0] // 2),
            )
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class Twice(nn.Module):
    """One layer and one BatchNorm, called two times."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(F.relu(self.bn(self.conv(x))))) - x)


class Spelled(nn.Module):
    """An activation that is written out."""

    def __init__(self, channels: int, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(channels, channels, 3, padding=1), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv(x))


class Interpolating(nn.Module):
    """A segmenting network's end.

    What was made smaller is interpolated, with corners and without.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.last = conv_bn(channels, channels, stride=2), conv_bn(channels, channels)
        self.up = nn.UpsamplingBilinear2d(scale_factor=2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(x)
        out: Tensor = self.last(
            x + F.interpolate(y, size=x.shape[2:], mode="bilinear") + self.up(self.down(x))
        )
        return out


class Indexed(nn.Module):
    """Axes added, dropped and moved by number; zeros on two sides.

    The channels of each pixel last for a while.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pad, self.conv, self.fc = (
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.Conv2d(channels, channels, 2),
            nn.Linear(channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = (
            self.conv(self.pad(x))
            * torch.sigmoid(self.fc(x[..., 1:].mean((2, 3))))[:, :, None, None]
        )
        out: Tensor = y.permute(0, 2, 3, 1)[:, 1:-1].permute(0, 3, 1, 2) + y[:, :, 0].unsqueeze(2)
        return out


class LayerScale(nn.Module):
    """A residual branch with a scale and an offset for each channel, as in CaiT and FastViT."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.norm = (
            nn.Conv2d(channels, channels, 3, padding=1),
            conv_bn(channels, channels, act=None),
        )
        self.gamma, self.shift = (
            nn.Parameter(torch.linspace(-0.3, 0.5, channels)),
            nn.Parameter(torch.ones(channels, 1, 1) / 8),
        )
        self.scale = nn.Parameter(torch.linspace(0.5, 1, channels).reshape(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.conv(x) * self.gamma.view(1, -1, 1, 1) + self.shift
        out: Tensor = x + self.norm(x).mul(self.scale)
        return out


class ConvNext(nn.Module):
    """ConvNeXt's block, its channels last between the permutations, and scaled there."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.norm = (
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            nn.LayerNorm(channels, eps=1e-6),
        )
        self.wide, self.narrow = (
            nn.Linear(channels, 4 * channels),
            nn.Linear(4 * channels, channels),
        )
        self.gamma = nn.Parameter(torch.linspace(0.1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x).permute(0, 2, 3, 1))
        out: Tensor = x + (self.gamma * self.narrow(F.gelu(self.wide(y)))).permute(0, 3, 1, 2)
        return out
