"""CIFAR-10 and CIFAR-100 as their author publishes them.

The "python version" and the "binary version".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.data.dataset import Dataset
from edgeq.data.preprocessing import Preprocessing
from edgeq.data.readers.unpickle import read_pickled_mapping
from edgeq.data.source import DataSource, Split, make_split
from edgeq.data.splitting import hold_out_tenth
from edgeq.data.statistics import CIFAR10, CIFAR100, Normalization
from edgeq.errors import ArtefactError
from edgeq.files import read_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True, slots=True)
class _Published:
    """How one of the two sets is laid out in its archives.

    Attributes:
        name: what the user types.
        classes: how many there are.
        labels_key: the pickles' key of the labels.
        names_key: the pickled meta file's key of the class names.
        label_bytes: how many labels stand before each image of the binary version; the last one
            counts.
        normalization: of the training images.
        python: files of the python version: meta, training files, test file.
        binary: files of the binary version, in the same order.
    """

    name: str
    classes: int
    labels_key: str
    names_key: str
    label_bytes: int
    normalization: Normalization
    python: tuple[str, ...]
    binary: tuple[str, ...]

    def read(self, paths: tuple[Path, ...]) -> DataSource:
        """The published samples; a fixed random tenth of the training ones validates."""
        binary = paths[-1].suffix == ".bin"
        meta, *training, test = paths
        classes = _text_names(meta) if binary else _pickled_names(meta, self.names_key)
        if len(classes) != self.classes:
            raise ArtefactError(
                f"{meta} names {len(classes)} classes, not {self.classes}",
                hint="download and unpack the archive again",
            )
        train, validation = hold_out_tenth(self._split(training, binary=binary))
        held = self._split([test], binary=binary)
        preprocessing = Preprocessing.normalized(*self.normalization)
        return DataSource(self.name, classes, train, validation, held, preprocessing, "crop-flip")

    def _split(self, paths: list[Path], *, binary: bool) -> Split:
        parts = [
            _binary_part(path, self.label_bytes) if binary else _pickled_part(path, self.labels_key)
            for path in paths
        ]
        rows = np.concatenate([rows for rows, _ in parts])
        labels = np.concatenate([labels for _, labels in parts])
        images = np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        return make_split(images, labels, self.classes, paths[0].parent)

    def dataset(self, summary: str) -> Dataset:
        """What is registered under its name."""
        origin = f"unpack the archive of {self.name}'s python or binary version"
        return Dataset(
            self.name,
            summary,
            self.classes,
            (3, 32, 32),
            self.read,
            (self.python, self.binary),
            origin,
        )


def _pickled_part(path: Path, labels_key: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    content = read_pickled_mapping(path)
    rows, labels = content.get("data"), content.get(labels_key)
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != _PIXELS:
        raise _broken(path, f"its data are no rows of {_PIXELS} bytes")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise _broken(path, f"its {labels_key} are no list of integers")
    if len(labels) != len(rows):
        raise _broken(path, f"it has {len(rows)} images and {len(labels)} labels")
    try:
        return rows, np.array(labels, np.int64)
    except OverflowError as error:
        raise _broken(path, f"its {labels_key} are too large") from error


def _binary_part(path: Path, label_bytes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    content = read_bytes(path, "CIFAR file")
    width = label_bytes + _PIXELS
    if len(content) % width:
        raise _broken(path, f"its {len(content)} bytes are no multiple of the {width} of a sample")
    samples = np.frombuffer(content, np.uint8).reshape(-1, width)
    return samples[:, label_bytes:], samples[:, label_bytes - 1].astype(np.int64)


def _pickled_names(path: Path, key: str) -> tuple[str, ...]:
    content: Mapping[str, object] = read_pickled_mapping(path)
    names = content.get(key)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _broken(path, f"it has no list of text called {key!r}")
    return tuple(names)


def _text_names(path: Path) -> tuple[str, ...]:
    try:
        return tuple(read_bytes(path, "list of classes", limit=1 << 16).decode().split())
    except UnicodeDecodeError as error:
        raise _broken(path, "it is no text") from error


def _broken(path: Path, what: str) -> ArtefactError:
    return ArtefactError(
        f"{path} is no published CIFAR file: {what}", hint="download and unpack the archive again"
    )


_TEN = _Published(
    "cifar10",
    10,
    "labels",
    "label_names",
    1,
    CIFAR10,
    tuple(
        f"cifar-10-batches-py/{file}"
        for file in ("batches.meta", *(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
    ),
    tuple(
        f"cifar-10-batches-bin/{file}"
        for file in (
            "batches.meta.txt",
            *(f"data_batch_{i}.bin" for i in range(1, 6)),
            "test_batch.bin",
        )
    ),
)
_HUNDRED = _Published(
    "cifar100",
    100,
    "fine_labels",
    "fine_label_names",
    2,
    CIFAR100,
    tuple(f"cifar-100-python/{file}" for file in ("meta", "train", "test")),
    tuple(f"cifar-100-binary/{file}" for file in ("fine_label_names.txt", "train.bin", "test.bin")),
)

load_cifar10 = _TEN.dataset("CIFAR-10, 32x32 colour: 50,000 to train, 10,000 to test")
load_cifar100 = _HUNDRED.dataset("CIFAR-100, 32x32 colour: 50,000 to train, 10,000 to test")
