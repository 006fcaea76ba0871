"""Noise is known by pixels that say nothing of their neighbours; images and features are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

import edgeq
from edgeq.data import load, normalize
from edgeq.deploy.pipeline.noise import neighbour_correlation, refuse_noise
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("seed", range(20))
def test_noise_of_any_kind_is_refused(seed: int) -> None:
    random = np.random.default_rng(seed)
    for noise in (
        random.normal(size=(8, 3, 16, 16)),
        random.uniform(0, 255, (32, 1, 12, 12)).round(),
        random.integers(0, 2, (4, 3, 32, 32)),
        random.normal(size=(32, 1, 8, 8)),
        random.normal(size=(13, 1, 8, 8)),
    ):
        with pytest.raises(UsageError, match="look like random noise") as error:
            refuse_noise(noise.astype(np.float32), "mine")
        assert "--allow-noise" in error.value.hint


def test_images_are_taken() -> None:
    digits = load("digits", None)
    images = normalize(digits.train.images[:100], digits)
    found = neighbour_correlation(images)
    assert found is not None
    assert found > 0.2
    refuse_noise(images, "digits")
    for start in range(0, 1000, 20):
        refuse_noise(normalize(digits.train.images[start : start + 20], digits), "digits")
    refuse_noise({"a": images}, "digits")


def test_what_is_no_image_or_too_little_is_taken() -> None:
    random = np.random.default_rng(0)
    for shape in ((500, 40), (500, 3, 40), (2, 3, 8, 8), (900, 3, 2, 8)):
        refuse_noise(random.normal(size=shape).astype(np.float32), "features")
    refuse_noise(np.ones((8, 3, 32, 32), np.float32), "constant")


def test_noise_is_refused_where_no_label_tells_what_it_is_worth(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5))
    noise = np.random.default_rng(0).normal(size=(48, 3, 8, 8)).astype(np.float32)
    with pytest.raises(UsageError, match="look like random noise"):
        edgeq.calibrate(network, edgeq.load_data({"test": noise}), tmp_path / "net.onnx")
    labelled = edgeq.load_data({"test": (noise, np.arange(48) % 5)})
    edgeq.calibrate(network, labelled, tmp_path / "net.onnx")
