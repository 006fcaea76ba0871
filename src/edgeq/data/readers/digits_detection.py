"""Digits on a canvas, with their boxes: a data set for detectors that comes with edgeq."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.data.dataset import Dataset
from edgeq.data.preprocessing import Preprocessing
from edgeq.data.readers import canvas
from edgeq.data.source import DataSource, Split

if TYPE_CHECKING:
    from pathlib import Path


def read(_paths: tuple[Path, ...]) -> DataSource:
    """1,600 canvases to train, 200 to validate and 400 to test; pixels become 0..1."""
    train, validation, test = (_split(name) for name in canvas.COUNTS)
    return DataSource(
        "digits-detection",
        canvas.DIGITS,
        train,
        validation,
        test,
        Preprocessing.normalized((0.0,), (1.0,)),
        task="mAP",
    )


def _split(name: str) -> Split:
    made = canvas.canvases(name)
    return Split(
        {"": made.images}, made.boxes, np.arange(len(made.images)), columns={"digits": made.counts}
    )


load = Dataset(
    "digits-detection", "1 to 4 digits on a 64x64 canvas, with boxes", 10, (1, 64, 64), read
)
