"""Strips of 49 x 10 features with a spoken-like digit each: a data set for keyword networks."""

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
    """3,300 strips to train, 440 to validate and 880 to test; numbers become 0..1."""
    train, validation, test = (_split(name) for name in strips.COUNTS)
    return DataSource(
        "digits-sequence",
        strips.CLASSES,
        train,
        validation,
        test,
        Preprocessing.normalized((0.0,), (1.0,)),
    )


def _split(name: str) -> Split:
    made = strips.strips(name)
    return Split(
        {"": made.noisy}, made.labels, np.arange(len(made.labels)), columns={"noise": made.noise}
    )


load = Dataset(
    "digits-sequence", "spoken-like digits, 49 steps of 10 features", 11, (1, 49, 10), read
)
