"""Digits on a canvas, with the class of each pixel: a data set for segmentation."""

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
    """The canvases of ``digits-detection``; 0 is the background, 1 the digit zero, and so on."""
    train, validation, test = (_split(name) for name in canvas.COUNTS)
    return DataSource(
        "digits-segmentation",
        ("background", *canvas.DIGITS),
        train,
        validation,
        test,
        Preprocessing.normalized((0.0,), (1.0,)),
        task="mIoU",
    )


def _split(name: str) -> Split:
    made = canvas.canvases(name)
    return Split(
        {"": made.images}, made.masks, np.arange(len(made.images)), columns={"digits": made.counts}
    )


load = Dataset(
    "digits-segmentation",
    "1 to 4 digits on a 64x64 canvas, with the class of each pixel",
    11,
    (1, 64, 64),
    read,
)
