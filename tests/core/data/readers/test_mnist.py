"""MNIST in its four official files, packed or not, beside or below, and in the plain form."""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeq.data import load
from edgeq.data.readers.mnist import read_idx
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
RNG = np.random.default_rng(7)
CONTENT = (
    RNG.integers(0, 256, (20, 28, 28), dtype=np.uint8),
    RNG.integers(0, 10, 20, dtype=np.uint8),
    RNG.integers(0, 256, (6, 28, 28), dtype=np.uint8),
    RNG.integers(0, 10, 6, dtype=np.uint8),
)


def idx(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("folder", ["mnist", "."])
@pytest.mark.parametrize("packed", [False, True])
def test_official_files(tmp_path: Path, folder: str, packed: bool) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    for name, array in zip(NAMES, CONTENT, strict=True):
        path = tmp_path / folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    source = load("mnist", tmp_path)
    assert (source.shape, len(source.train), len(source.validation), source.augmentation) == (
        (1, 28, 28),
        18,
        2,
        "none",
    )
    assert np.array_equal(source.test.images[:][..., 0], CONTENT[2])
    assert source.test.class_labels.tolist() == CONTENT[3].tolist()
    assert np.array_equal(source.train.images[:][..., 0], CONTENT[0][source.train.ids])


def test_the_plain_form_stands_in(tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    np.savez(tmp_path / "mnist" / "train.npz", images=CONTENT[0], labels=CONTENT[1])
    np.savez(tmp_path / "mnist" / "test.npz", images=CONTENT[2], labels=CONTENT[3])
    assert np.array_equal(load("mnist", tmp_path).test.images[:][..., 0], CONTENT[2])


def test_the_plain_form_without_labels(tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    for part in ("train", "test"):
        np.savez(tmp_path / "mnist" / f"{part}.npz", images=CONTENT[0])
    with pytest.raises(ArtefactError, match="no images and labels; it holds images"):
        load("mnist", tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (idx(CONTENT[1]), "no IDX file of bytes with 3 axes"),
        (idx(CONTENT[0])[:-1], "says it holds \\(20, 28, 28\\)"),
        (idx(CONTENT[0]) + b"x", "says it holds"),
        (struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "says it holds"),
        (b"\x00\x00\x08\x03\x00", "no IDX file"),
        (b"", "zero bytes"),
    ],
)
def test_a_damaged_file(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / NAMES[0]
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=said):
        read_idx(path, axes=3)


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(idx(CONTENT[0]))[:-50]])
def test_a_damaged_packed_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / f"{NAMES[0]}.gz"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match="cannot be unpacked"):
        read_idx(path, axes=3)


def test_the_real_one(data_dir: Path) -> None:
    source = load("mnist", data_dir)
    assert (len(source.train), len(source.validation), len(source.test)) == (54_000, 6_000, 10_000)
    assert np.bincount(source.test.class_labels).tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]
