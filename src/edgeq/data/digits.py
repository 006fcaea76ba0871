"""The default data set: the 8x8 handwritten digits that come with scikit-learn, so that a first run needs no download."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.data.dataset import Dataset
from edgeq.data.source import DataSource, make_split
from edgeq.data.splitting import stratified
from edgeq.data.statistics import DIGITS

if TYPE_CHECKING:
    from pathlib import Path

TEST_COUNT = 360
VALIDATION_COUNT = 288


def read(_paths: tuple[Path, ...]) -> DataSource:
    """The 1,797 digits of the UCI set "Optical recognition of handwritten digits": 1,149 train, 288 validate, 360 test.

    The published grey levels 0..16 become 0..255 as ``(255 * level + 8) // 16``, which is rounding half up. The splits are
    stratified by class and fixed; a sample's id is its place in scikit-learn's order.
    """
    from sklearn.datasets import load_digits

    content: Any = load_digits()
    images = ((255 * content.images.astype(np.int64) + 8) // 16).astype(np.uint8)
    every = make_split(images, content.target, 10, "scikit-learn's digits")
    position = np.arange(len(every), dtype=np.int64)
    tested = stratified(every.labels, TEST_COUNT)
    rest = position[~tested]
    validated = stratified(every.labels[rest], VALIDATION_COUNT)
    return DataSource(
        "digits",
        tuple(str(digit) for digit in range(10)),
        every.take(rest[~validated]),
        every.take(rest[validated]),
        every.take(position[tested]),
        *DIGITS,
        "none",
    )


load = Dataset("digits", "handwritten digits of scikit-learn, 8x8 grey; needs no file", 10, (1, 8, 8), read)
