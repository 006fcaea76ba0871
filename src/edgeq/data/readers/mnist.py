"""MNIST from its authors' four files (IDX, packed or not), or from the plain ``.npz`` form."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from typing import TYPE_CHECKING

import numpy as np

from edgeq.data.dataset import Dataset
from edgeq.data.preprocessing import Preprocessing
from edgeq.data.readers.arrays import MAX_ARRAY_BYTES, read_npz
from edgeq.data.source import DataSource, Split, make_split
from edgeq.data.splitting import hold_out_tenth
from edgeq.data.statistics import MNIST
from edgeq.errors import ArtefactError
from edgeq.files import read_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_CLASSES = tuple(str(digit) for digit in range(10))
_OFFICIAL = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_UNSIGNED_BYTE = 8  # the element type in the third byte of an IDX file


def read(paths: tuple[Path, ...]) -> DataSource:
    """The published 60,000 and 10,000 samples; a fixed random tenth of the 60,000 validates."""
    published, test = _from_npz(paths) if len(paths) == 2 else _from_idx(paths)
    train, validation = hold_out_tenth(published)
    return DataSource("mnist", _CLASSES, train, validation, test, Preprocessing.normalized(*MNIST))


def _from_idx(paths: tuple[Path, ...]) -> tuple[Split, Split]:
    images, labels, test_images, test_labels = paths
    published = make_split(read_idx(images, axes=3), read_idx(labels, axes=1), 10, images)
    return published, make_split(
        read_idx(test_images, axes=3), read_idx(test_labels, axes=1), 10, test_images
    )


def _from_npz(paths: tuple[Path, ...]) -> tuple[Split, Split]:
    published, test = (_npz_split(path) for path in paths)
    return published, test


def _npz_split(path: Path) -> Split:
    content = read_npz(path, "data set")
    if not {"images", "labels"} <= set(content):
        raise ArtefactError(
            f"{path} has no images and labels; it holds {', '.join(content) or 'nothing'}",
            hint="write it again",
        )
    return make_split(content["images"], content["labels"], 10, path)


def read_idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """The array of one IDX file of bytes, unpacked first where its name ends in ``.gz``.

    The form: two zero bytes, the element type, the number of axes, each axis as a big-endian 32-bit
    integer, the elements.

    Raises:
        ArtefactError: missing, broken, not of bytes, of another number of axes, or longer or
            shorter than it says.
    """
    content = read_bytes(path, "IDX file", limit=MAX_ARRAY_BYTES)
    if path.suffix == ".gz":
        content = _unpacked(content, path)
    if content[:4] != bytes((0, 0, _UNSIGNED_BYTE, axes)) or len(content) < 4 + 4 * axes:
        raise ArtefactError(
            f"{path} is no IDX file of bytes with {axes} axes", hint="download it again"
        )
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", axes, 4))
    if len(content) != 4 + 4 * axes + math.prod(shape):
        raise ArtefactError(
            f"{path} says it holds {shape}, but has {len(content)} bytes", hint="download it again"
        )
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()


def _unpacked(content: bytes, path: Path) -> bytes:
    try:
        with gzip.open(io.BytesIO(content)) as file:
            unpacked = file.read(MAX_ARRAY_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ArtefactError(
            f"{path} cannot be unpacked: {error}", hint="download it again"
        ) from error
    if len(unpacked) > MAX_ARRAY_BYTES:
        raise ArtefactError(
            f"{path} unpacks to more than {MAX_ARRAY_BYTES} bytes", hint="is it the right file?"
        )
    return unpacked


load = Dataset(
    "mnist",
    "handwritten digits, 28x28 grey: 60,000 to train, 10,000 to test",
    10,
    (1, 28, 28),
    read,
    layouts=(
        *(
            tuple(f"{folder}{file}{packed}" for file in _OFFICIAL)
            for folder in ("mnist/", "")
            for packed in ("", ".gz")
        ),
        ("mnist/train.npz", "mnist/test.npz"),
    ),
    origin="put the four official files (train-images-idx3-ubyte.gz and so on)",
)
