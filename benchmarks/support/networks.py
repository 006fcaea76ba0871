"""The networks of the benchmarks, as torch modules, float ONNX and exported programs."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tests.support.models.mobilenet import FULL, MobileNetV2, float_onnx, settled

from edgeq.calibration.quantize import fold_onnx
from edgeq.data import load, normalize
from edgeq.exporters.torch.lower import lower
from edgeq.models import pretrained, zoo

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray
    from torch import nn

_SMALL = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""The rows of MobileNetV2 as they are used for images of 32 pixels: less is strided."""

CALIBRATION, EVALUATION = 64, 100


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A float network with data.

    Attributes:
        name: for tables.
        module: in evaluation mode.
        model: the same as float ONNX, BatchNorm folded.
        calibration: float32, (n, 3, h, w).
        evaluation: float32, (m, 3, h, w), others than those.
        data: what the images are.
    """

    name: str
    module: nn.Module
    model: ir.Model
    calibration: NDArray[np.float32]
    evaluation: NDArray[np.float32]
    data: str

    def save_program(self, path: Path) -> None:
        """Write the module as torch's exported program."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.save(
                torch.export.export(self.module, (torch.from_numpy(self.calibration[:1]),)), path
            )


def build(name: str) -> Network:
    """``mobilenetv2-32``, ``mobilenetv2-224``, or a ResNet of the zoo.

    ``resnet56-a`` has the weights in ``EDGEQ_DATA``.
    """
    torch.manual_seed(0)
    if name.startswith("mobilenetv2"):
        size = int(name.rpartition("-")[2])
        module = MobileNetV2(FULL) if size > 32 else MobileNetV2(_SMALL, stem_stride=1, classes=10)
        calibration, evaluation = (
            _random(size, CALIBRATION if size <= 32 else 8),
            _random(size, EVALUATION if size <= 32 else 8, seed=1),
        )
        return Network(
            name,
            settled(module, size),
            float_onnx(module, size),
            calibration,
            evaluation,
            "random weights and images",
        )
    return _resnet(name)


def _resnet(name: str) -> Network:
    folder = os.environ.get("EDGEQ_DATA")
    if not folder or not name.endswith("-a"):
        module = settled(zoo.build(name, classes=10), 32)
        calibration, evaluation, data = (
            _random(32, CALIBRATION),
            _random(32, EVALUATION, seed=1),
            "random weights and images",
        )
    else:
        module = zoo.build(name, classes=10).eval()
        pretrained.load_npz_weights(
            module, Path(folder) / "models" / f"{name.removesuffix('-a')}-cifar10.npz"
        )
        source = load("cifar10-lossless", Path(folder)).with_normalization(
            *pretrained.NORMALIZATION
        )
        calibration, evaluation = (
            normalize(source.train.images[:CALIBRATION], source),
            normalize(source.test.images[:EVALUATION], source),
        )
        data = "pretrained weights, CIFAR-10 images"
    return Network(
        name, module, fold_onnx(lower(module, (3, 32, 32))), calibration, evaluation, data
    )


def _random(size: int, samples: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((samples, 3, size, size), np.float32)
