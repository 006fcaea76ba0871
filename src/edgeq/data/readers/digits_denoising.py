"""Strips of 49 x 10 features with noise, and the same without: a data set for denoisers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.data.dataset import Dataset
from edgeq.data.preprocessing import Preprocessing
from edgeq.data.readers import strips
from edgeq.data.source import DataSource, Split

if TYPE_CHECKING:
    from pathlib import Path


def read(_paths: tuple[Path, ...]) -> DataSource:
    """The strips of ``digits-sequence``; labels are the clean features, 0..1."""
    train, validation, test = (_split(name) for name in strips.COUNTS)
    return DataSource(
        "digits-denoising",
        tuple(f"feature {number}" for number in range(strips.FEATURES)),
        train,
        validation,
        test,
        Preprocessing.normalized((0.0,), (1.0,)),
        task="rmse",
    )


def _split(name: str) -> Split:
    made = strips.strips(name)
    clean = made.clean.astype(np.float32) / np.float32(255)
    return Split({"": made.noisy}, clean, np.arange(len(clean)), columns={"noise": made.noise})


load = Dataset(
    "digits-denoising",
    "49 steps of 10 features with noise, and without",
    10,
    (1, 49, 10),
    read,
)
