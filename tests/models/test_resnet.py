"""The baselines have the published size, shortcuts and initialisation, and can be lowered."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from edgeq.models.macs import count_parameters
from edgeq.models.resnet import PadShortcut, ResNet, Shortcut


def expected_parameters(blocks: int, classes: int, shortcut: Shortcut, in_channels: int = 3) -> int:
    """By hand from the layer table.

    Convolutions without bias, two numbers a BatchNorm channel, a linear layer with bias.
    """
    total = 9 * in_channels * 16 + 2 * 16
    before = 16
    for width in (16, 32, 64):
        for _ in range(blocks):
            total += 9 * before * width + 9 * width * width + 4 * width
            if before != width and shortcut == "projection":
                total += before * width + 2 * width
            before = width
    return total + 64 * classes + classes


@pytest.mark.parametrize("shortcut", ["projection", "pad"])
@pytest.mark.parametrize(
    ("blocks", "classes", "in_channels"), [(1, 10, 1), (3, 10, 3), (5, 7, 3), (9, 100, 3)]
)
def test_parameters_by_the_layer_table(
    shortcut: Shortcut, blocks: int, classes: int, in_channels: int
) -> None:
    network = ResNet(blocks, classes=classes, in_channels=in_channels, shortcut=shortcut)
    assert count_parameters(network) == expected_parameters(blocks, classes, shortcut, in_channels)


@pytest.mark.parametrize(
    ("shortcut", "classes", "count"),
    [
        ("projection", 10, 855_770),
        ("projection", 100, 861_620),
        ("pad", 10, 853_018),
        ("pad", 100, 858_868),
    ],
)
def test_resnet56_is_exact(shortcut: Shortcut, classes: int, count: int) -> None:
    assert count_parameters(ResNet(9, classes=classes, shortcut=shortcut)) == count


def test_the_padded_shortcut_keeps_every_second_pixel_between_zero_channels() -> None:
    x = torch.randn(2, 16, 7, 7)
    y = PadShortcut(16, 32)(x)
    assert y.shape == (2, 32, 4, 4)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


@pytest.mark.parametrize(("size", "after"), [(32, 8), (28, 7), (8, 2)])
def test_each_stage_but_the_first_halves_the_image(size: int, after: int) -> None:
    network = ResNet(1, classes=10, in_channels=1).eval()
    assert network.stages(network.stem(torch.zeros(1, 1, size, size))).shape == (
        1,
        64,
        after,
        after,
    )


def test_he_initialisation() -> None:
    torch.manual_seed(0)
    network = ResNet(2, classes=10)
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 2000:
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            assert module.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.1)
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
