"""MobileNetV2 (Sandler et al., Table 2) in plain torch, at any width and depth.

Edgeq knows nothing of it.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeq.calibration.quantize import fold_onnx
from edgeq.formats.onnx_io import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

FULL = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, repeats and stride of each row of the table."""

SMALL = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 2, 2))


class Block(nn.Module):
    """Expand, filter each channel, project; a sum where the shapes allow it."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        layers = _unit(inputs, inner, 1) if expansion > 1 else []
        self.layers = nn.Sequential(
            *layers,
            *_unit(inner, inner, 3, stride, inner),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        y: Tensor = self.layers(x)
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    """The network.

    Args:
        rows: its middle, see ``FULL``.
        last: channels before the mean.
        stem_stride: 2 for images of 224 pixels, 1 for those of 32.
        classes: how many logits.
    """

    def __init__(
        self,
        rows: Sequence[tuple[int, int, int, int]] = FULL,
        last: int = 1280,
        stem_stride: int = 2,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = _unit(3, 32, 3, stem_stride)
        channels = 32
        for expansion, outputs, repeats, stride in rows:
            for i in range(repeats):
                layers.append(Block(channels, outputs, stride if i == 0 else 1, expansion))
                channels = outputs
        self.layers = nn.Sequential(*layers, *_unit(channels, last, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, 3, h, w) to logits (n, classes)."""
        logits: Tensor = self.classifier(torch.flatten(self.pool(self.layers(x)), 1))
        return logits


def _unit(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU6()]


def settled(model: nn.Module, size: int) -> nn.Module:
    """The network with BatchNorm statistics of a few random batches, so no layer fades out."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    model.train()
    with torch.no_grad():
        for _ in range(2):
            model(torch.randn(4, 3, size, size))
    return model.eval()


def float_onnx(model: nn.Module, size: int) -> ir.Model:
    """The network as torch's own exporter writes it, BatchNorm folded."""
    images = torch.randn(1, 3, size, size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter uses what torch itself has deprecated
        program = torch.onnx.export(
            settled(model, size), (images,), dynamo=True, verbose=False, input_names=["input"]
        )
    assert program is not None
    return fold_onnx(parse(program.model_proto.SerializeToString(), "torch's model"))
