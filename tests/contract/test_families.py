"""The exactness contract for networks of anybody's, family by family: torch, ONNX Runtime, and TFLite's reference kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tests.contract.test_foreign import random_images
from tests.exactness import check_rows_one_and_two, roughen
from tests.families import FAMILIES

from edgeq.deploy.verify import verify
from edgeq.exporter import ExportOptions
from edgeq.exporters.lower import lower
from edgeq.exporters.tflite import exporter as tflite
from edgeq.training.insertion import quantize
from edgeq.training.scheme import Scheme

if TYPE_CHECKING:
    from pathlib import Path

    from torch import fx

SIZE = 16
SHAPE = (3, SIZE, SIZE)
MOST_FLIPS = 1e-3  # a share of all integers; a tie of a table is met by every pixel of that value
MOST_ERROR = 0.25  # LSB


def network(name: str, scheme: Scheme) -> fx.GraphModule:
    torch.manual_seed(0)
    return roughen(quantize(FAMILIES[name](), scheme, torch.zeros(1, *SHAPE)), SHAPE)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_exact_on_both_references(name: str, bits: int, tmp_path: Path) -> None:
    model = network(name, Scheme(bits, bits))
    images = np.random.default_rng(1).normal(0, 1, (2, *SHAPE)).astype(np.float32)
    verdict = check_rows_one_and_two(model, images, tmp_path)
    assert verdict.error < MOST_ERROR
    assert verdict.flips <= MOST_FLIPS * verdict.compared
    lowered = lower(model, SHAPE)
    exported = tflite.export(lowered, ExportOptions())
    assert exported.parity.different == ()
    assert exported.in_float is None
    verify(lowered, exported, random_images(SIZE), limit=2).require()
