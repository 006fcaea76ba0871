"""Arrays of any numeric type and rank, in files that are read by the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeq.data import load
from edgeq.data.readers.npy import StoredArray, read_npy
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u2", ">f4", "?"])
@pytest.mark.parametrize("sample", [(), (5,), (2, 3), (2, 3, 4, 2)])
def test_any_numbers_of_any_rank(tmp_path: Path, dtype: str, sample: tuple[int, ...]) -> None:
    content = RNG.integers(0, 2, (9, *sample)).astype(dtype)
    np.save(tmp_path / "x.npy", content)
    found = read_npy(tmp_path / "x.npy")
    assert (found.shape, len(found)) == (content.shape, 9)
    for where in (slice(None), slice(2, 5), np.array([8, 0, 1, 2, 7]), slice(0, 0)):
        assert np.array_equal(found[where], content[where])
        assert found[where].dtype == content.dtype.newbyteorder("=")


def test_one_file_has_no_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((4, 7), np.float32))
    source = load(str(tmp_path / "x.npy"))
    assert (source.shape, len(source.test), source.test.labels) == ((7,), 4, None)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_several_inputs_by_name(tmp_path: Path, save: Callable[..., None]) -> None:
    tokens, features = np.arange(6).reshape(3, 2), np.ones((3, 4), np.float64)
    save(tmp_path / "x.npz", tokens=tokens, features=features, labels=np.array([0, 2, 1]))
    source = load(str(tmp_path / "x.npz"))
    assert source.shapes == {"tokens": (2,), "features": (4,)}
    assert source.classes == ("0", "1", "2")
    fed = source.preprocessing.apply({name: each[:] for name, each in source.test.inputs.items()})
    assert {name: each.dtype.name for name, each in fed.items()} == {
        "tokens": "int64",
        "features": "float32",
    }
    assert isinstance(source.test.inputs["tokens"], StoredArray) is (save is np.savez)


@pytest.mark.parametrize(
    ("labels", "task", "classes"),
    [
        (np.array([[1], [0]]), "top1", ("0", "1")),
        (np.array([0.5, 2.5]), "mae", ()),
        (np.zeros((2, 4, 4), np.uint8), "mIoU", ("0",)),
    ],
)
def test_the_task_follows_from_the_labels(
    tmp_path: Path, labels: Any, task: str, classes: tuple[str, ...]
) -> None:
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        np.save(tmp_path / part / "inputs.npy", np.zeros((2, 3, 4, 4), np.float32))
        np.save(tmp_path / part / "labels.npy", labels)
    source = load(str(tmp_path))
    assert (source.task, source.classes, source.shape) == (task, classes, (3, 4, 4))
    assert (len(source.train), len(source.validation), len(source.test)) == (1, 1, 2)


@pytest.mark.parametrize("shape", [(2, 5, 6), (2, 3, 5, 6), (2, 5, 6, 3)])
def test_bytes_are_images_wherever_their_channels_stand(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    np.save(tmp_path / "x.npy", RNG.integers(0, 256, shape, np.uint8))
    source = load(str(tmp_path / "x.npy"))
    assert source.shape == (1 if len(shape) == 3 else 3, 5, 6)
    assert source.test.images[:].shape == source.test.images.shape


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"a": np.zeros((2, 3)), "labels": np.zeros(3, np.int64)}, "arrays of other lengths"),
        ({"a": np.zeros((2, 3)), "labels": np.array([-1, 0])}, "has the label -1 at sample 0"),
        ({"a": np.zeros((2, 3)), "labels": np.array([0, 2**40])}, "has the label 1099511627776"),
        ({"a": np.zeros((2, 3)), "labels": np.eye(2, dtype=int)}, r"argmax\(axis=1\)"),
        ({"a": np.zeros((2, 3)), "labels": np.array(["cat", "dog"])}, "has labels of <U3"),
        ({"a": np.zeros((0, 3))}, "no samples"),
        ({"a": np.array(["x", "y"])}, "no numbers"),
    ],
)
def test_arrays_that_do_not_belong_together(
    tmp_path: Path, arrays: dict[str, Any], said: str
) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ArtefactError, match=said):
        load(str(tmp_path / "x.npz"))


def test_files_that_cannot_be_read_by_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", np.asfortranarray(np.ones((3, 4))))
    with pytest.raises(ArtefactError, match="columns one behind the other"):
        read_npy(tmp_path / "f.npy")
    np.save(tmp_path / "t.npy", np.ones((3, 4)))
    (tmp_path / "t.npy").write_bytes((tmp_path / "t.npy").read_bytes()[:-8])
    with pytest.raises(ArtefactError, match="shorter than it says"):
        read_npy(tmp_path / "t.npy")
    np.save(tmp_path / "o.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ArtefactError, match="no numbers"):
        read_npy(tmp_path / "o.npy")
    (tmp_path / "n.npy").write_bytes(b"nothing")
    with pytest.raises(ArtefactError, match="no readable"):
        read_npy(tmp_path / "n.npy")


def test_a_header_that_numpy_cannot_parse_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((4, 3)))
    path.write_bytes(path.read_bytes().replace(b"}", b"{"))
    with pytest.raises(ArtefactError, match="its header is broken"):
        load(str(path))
