"""MobileNetV3-small for small images: inverted residuals, squeeze and excitation, hard swish.

Howard et al., *Searching for MobileNetV3*, 2019, Table 2. For images of 32 to 64 pixels the stem
and the first block keep the size, so that the last layers see more than one pixel, and the widths
may be scaled.
"""

from __future__ import annotations

from torch import Tensor, nn

BLOCKS = (
    (3, 16, 16, True, "relu", 1),
    (3, 72, 24, False, "relu", 2),
    (3, 88, 24, False, "relu", 1),
    (5, 96, 40, True, "swish", 2),
    (5, 240, 40, True, "swish", 1),
    (5, 240, 40, True, "swish", 1),
    (5, 120, 48, True, "swish", 1),
    (5, 144, 48, True, "swish", 1),
    (5, 288, 96, True, "swish", 2),
    (5, 576, 96, True, "swish", 1),
    (5, 576, 96, True, "swish", 1),
)
"""Kernel, expanded width, output width, squeeze and excitation, activation, stride."""
STEM, LAST, HIDDEN = 16, 576, 1024


def _activation(name: str) -> nn.Module:
    return nn.Hardswish() if name == "swish" else nn.ReLU()


def _conv(
    before: int, after: int, size: int = 1, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    return [
        nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
    ]


class Excitation(nn.Module):
    """Each channel times a factor in [0, 1] that is computed from all channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(8, channels // 4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze, self.excite = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)
        self.relu, self.gate = nn.ReLU(), nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) to the same."""
        y: Tensor = x * self.gate(self.excite(self.relu(self.squeeze(self.pool(x)))))
        return y


class Residual(nn.Module):
    """Expand, filter each channel, excite, project; and the input again where the shape stays."""

    def __init__(
        self, before: int, size: int, wide: int, after: int, excited: bool, name: str, stride: int
    ) -> None:
        super().__init__()
        expand = [*_conv(before, wide), _activation(name)] if wide != before else []
        excite = [Excitation(wide)] if excited else []
        self.layers = nn.Sequential(
            *expand,
            *_conv(wide, wide, size, stride, wide),
            _activation(name),
            *excite,
            *_conv(wide, after),
        )
        self.same = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, h, w) to (n, after, h / stride, w / stride)."""
        y: Tensor = self.layers(x)
        return x + y if self.same else y


class MobileNetV3(nn.Module):
    """The network.

    Args:
        classes: how many outputs.
        in_channels: of the image.
        width: factor of all widths.
    """

    def __init__(self, *, classes: int, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()

        def scaled(channels: int) -> int:
            return max(8, round(channels * width / 8) * 8)

        before = scaled(STEM)
        self.stem = nn.Sequential(*_conv(in_channels, before, 3, 1), nn.Hardswish())
        blocks = []
        for size, wide, after, excited, name, stride in BLOCKS:
            blocks.append(
                Residual(before, size, scaled(wide), scaled(after), excited, name, stride)
            )
            before = scaled(after)
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Sequential(*_conv(before, scaled(LAST)), nn.Hardswish())
        self.pool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.hidden = nn.Sequential(nn.Linear(scaled(LAST), scaled(HIDDEN)), nn.Hardswish())
        self.classifier = nn.Linear(scaled(HIDDEN), classes)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to logits (n, classes)."""
        y = self.last(self.blocks(self.stem(x)))
        logits: Tensor = self.classifier(self.hidden(self.flatten(self.pool(y))))
        return logits
