"""The support matrix: families of networks in the public style, on every local target.

A few of them here; all of them, with what timm and torchvision have, in the slow test.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from benchmarks.support.matrix import COLUMNS, measure
from benchmarks.support_matrix import page
from tests.support.models.public.catalogue import FAMILIES
from torch import nn

from edgeq.network.layer_rules import LayerRule
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.models.public.catalogue import Family

FAST = ("DS-CNN", "TCN", "ViT")
WIDE = ("DS-CNN", "U-Net, transposed convolutions", "Autoencoder of features")
BY_NAME = {family.name: family for family in FAMILIES}
REFERENCES = ("QAT", "export", "ort-cpu-ref", "tflite-ref", "emulator")

pytestmark = pytest.mark.filterwarnings("ignore")


def failures(
    family: Family, folder: Path, columns: tuple[str, ...], scheme: Scheme | None = None
) -> dict[str, str]:
    row = measure(family, folder, columns, scheme or Scheme())
    return {name: cell.text for name, cell in row.cells.items() if not cell.holds}


@pytest.mark.parametrize("name", FAST)
def test_a_family_is_trained_exported_and_exact(name: str, tmp_path: Path) -> None:
    assert failures(BY_NAME[name], tmp_path, REFERENCES) == {}


@pytest.mark.parametrize("name", WIDE)
def test_activations_of_16_bits_are_exact_too(name: str, tmp_path: Path) -> None:
    scheme = Scheme(act_bits=16, boundary_bits=16)
    assert failures(BY_NAME[name], tmp_path, REFERENCES, scheme) == {}


def test_layers_of_16_bits_between_others_are_exact_too(tmp_path: Path) -> None:
    scheme = Scheme(layers=(LayerRule("features.4", act_bits=16),))
    assert failures(BY_NAME["DS-CNN"], tmp_path, REFERENCES, scheme) == {}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_is_whole(family: Family, tmp_path: Path) -> None:
    if family.source != "torch" and find_spec(family.source) is None:
        pytest.skip(f"{family.source} is not installed")
    assert failures(family, tmp_path, COLUMNS) == {}


def test_the_page_counts_whole_rows_and_says_why_others_are_not(tmp_path: Path) -> None:
    family = replace(BY_NAME["TextCNN"], build=lambda: nn.Conv3d(1, 1, 1), shape=(1, 4, 4, 4))
    written = page([measure(replace(family, tokens=0), tmp_path)])
    assert "0 of 1" in written
    assert "- TextCNN, QAT: conv3d (conv3d) cannot be quantised" in written
