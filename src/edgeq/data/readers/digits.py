"""The default data set: 8x8 handwritten digits that come with edgeq, in 45 kB.

``digits.npz`` holds the test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and
C. Kaynak (UCI Machine Learning Repository, 1998; CC BY 4.0), unchanged but for the file's form, in
the order in which scikit-learn has it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeq.data.dataset import Dataset
from edgeq.data.preprocessing import Preprocessing
from edgeq.data.readers.arrays import read_npz
from edgeq.data.source import DataSource, make_split
from edgeq.data.splitting import stratified
from edgeq.data.statistics import DIGITS

FILE = Path(__file__).with_name("digits.npz")
TEST_COUNT = 360
VALIDATION_COUNT = 288


def read(_paths: tuple[Path, ...]) -> DataSource:
    """The 1,797 digits of the UCI set "Optical recognition of handwritten digits".

    1,149 are for training, 288 for validation, 360 for the test.

    The published grey levels 0..16 become 0..255 as ``(255 * level + 8) // 16``, which is rounding
    half up. The splits are stratified by class and fixed; a sample's id is its place in the file.
    """
    content = read_npz(FILE, "data set")
    images = ((255 * content["images"].astype(np.int64) + 8) // 16).astype(np.uint8)
    every = make_split(images, content["labels"], 10, FILE)
    position = np.arange(len(every), dtype=np.int64)
    tested = stratified(every.class_labels, TEST_COUNT)
    rest = position[~tested]
    validated = stratified(every.class_labels[rest], VALIDATION_COUNT)
    return DataSource(
        "digits",
        tuple(str(digit) for digit in range(10)),
        every.take(rest[~validated]),
        every.take(rest[validated]),
        every.take(position[tested]),
        Preprocessing.normalized(*DIGITS),
    )


load = Dataset("digits", "handwritten digits, 8x8 grey; they come with edgeq", 10, (1, 8, 8), read)
