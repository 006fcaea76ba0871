"""Networks in which faults are planted: small, quantised, at random weights."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from tests.support.checks.exactness import roughen

import edgeq
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import serialize
from edgeq.models import zoo
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from edgeq.data import DataSource

SHAPES = {
    "resnet8": (3, 16, 16),
    "stable-resnet8": (3, 16, 16),
    "mobilenetv2": (3, 16, 16),
    "yolo-tiny": (1, 32, 32),
    "gru-denoiser": (1, 6, 12),
    "mobilenetv3-small": (1, 16, 16),
}
"""The shape of a sample of each network."""


@lru_cache
def network(name: str, weight_bits: int = 8, act_bits: int = 8) -> onnx.ModelProto:
    """A network of the zoo as a QDQ file whose pairs of products cannot saturate."""
    torch.manual_seed(0)
    shape = SHAPES[name]
    classes = 12 if name.startswith("gru") else 10
    made = zoo.build(name, classes=classes, in_channels=shape[0], image_size=shape[1:])
    trained = roughen(quantize(made, Scheme(weight_bits, act_bits), torch.randn(4, *shape)), shape)
    return onnx.load_from_string(serialize(lower(trained, shape)))


@lru_cache
def samples(shape: tuple[int, ...], count: int = 4) -> DataSource:
    """Random samples of a shape, without labels."""
    values = np.random.default_rng(5).normal(0, 1, (count, *shape)).astype(np.float32)
    return edgeq.load_data({"test": values})
