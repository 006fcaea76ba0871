"""The constants are what the training samples really have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeq.data import load
from edgeq.data.statistics import measure

if TYPE_CHECKING:
    from pathlib import Path


def test_measures_as_numpy_does() -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 5, 4, 3), dtype=np.uint8)
    mean, std = measure(images)
    assert mean == pytest.approx((images / 255).mean((0, 1, 2)))
    assert std == pytest.approx((images / 255).std((0, 1, 2)))


def test_a_constant_channel_can_still_be_divided_by() -> None:
    assert measure(np.full((2, 3, 3, 1), 255, np.uint8)) == ((1.0,), (1.0,))


def test_digits() -> None:
    source = load("digits")
    mean, std = measure(source.train.images[:])
    assert source.mean == pytest.approx(mean, abs=5e-5)
    assert source.std == pytest.approx(std, abs=5e-5)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("mnist", 1e-4),
        ("cifar10-lossless", 3e-3),
        pytest.param("tiny-imagenet100-32", 5e-5, marks=pytest.mark.slow),
    ],
)
def test_real_data(data_dir: Path, name: str, tolerance: float) -> None:
    source = load(name, data_dir)
    mean, std = measure(source.train.images[:])
    assert source.mean == pytest.approx(mean, abs=tolerance)
    assert source.std == pytest.approx(std, abs=tolerance)
