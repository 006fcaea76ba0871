"""Quantised networks of the zoo as TFLite files, a few steps from their initialisation."""

from __future__ import annotations

from functools import lru_cache

import torch
from tests.support.checks.exactness import roughen

from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.exporters.torch.lower import lower
from edgeq.models import zoo
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme

SHAPE = (3, 32, 32)


@lru_cache
def tflite(
    name: str, weight_bits: int = 8, activation_bits: int = 8, storage: str = "int8"
) -> bytes:
    """The file of a network; ``storage`` as of :class:`edgeq.exporter.ExportOptions`."""
    torch.manual_seed(0)
    network = roughen(
        quantize(zoo.build(name, classes=10), Scheme(weight_bits, activation_bits)), SHAPE
    )
    return exporter.export(
        lower(network, SHAPE), ExportOptions(weight_storage="int4" if storage == "int4" else "int8")
    ).content
