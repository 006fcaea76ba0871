"""Both published versions of both CIFARs give the same samples; each damage is named."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeq.data import DataSource, load
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PER_FILE = 8
TEN = tuple(f"kind{i}" for i in range(10))
HUNDRED = tuple(f"kind{i}" for i in range(100))


def samples(seed: int, classes: int, count: int = PER_FILE) -> tuple[NDArray[np.uint8], list[int]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 3072), dtype=np.uint8), rng.integers(
        0, classes, count
    ).tolist()


def pickled(path: Path, **content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, 4))


def cifar10_python(root: Path) -> None:
    folder = root / "cifar-10-batches-py"
    pickled(folder / "batches.meta", label_names=list(TEN))
    for i, file in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        rows, labels = samples(i, 10)
        pickled(folder / file, data=rows, labels=labels, filenames=["x.png"] * PER_FILE)


def cifar10_binary(root: Path) -> None:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    (folder / "batches.meta.txt").write_text("\n".join(TEN) + "\n\n")
    for i, file in enumerate([*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]):
        rows, labels = samples(i, 10)
        np.hstack([np.array(labels, np.uint8)[:, None], rows]).tofile(folder / file)


def cifar100_python(root: Path) -> None:
    folder = root / "cifar-100-python"
    pickled(folder / "meta", fine_label_names=list(HUNDRED), coarse_label_names=["x"] * 20)
    for i, file in enumerate(["train", "test"]):
        rows, labels = samples(i, 100, 40)
        pickled(folder / file, data=rows, fine_labels=labels, coarse_labels=[0] * 40)


def cifar100_binary(root: Path) -> None:
    folder = root / "cifar-100-binary"
    folder.mkdir()
    (folder / "fine_label_names.txt").write_text("\n".join(HUNDRED))
    for i, file in enumerate(["train.bin", "test.bin"]):
        rows, labels = samples(i, 100, 40)
        np.hstack([np.zeros((40, 1), np.uint8), np.array(labels, np.uint8)[:, None], rows]).tofile(
            folder / file
        )


def everything(source: DataSource) -> list[Any]:
    parts = (source.train, source.validation, source.test)
    return [
        source.classes,
        *((p.images[:].tobytes(), p.class_labels.tolist(), p.ids.tolist()) for p in parts),
    ]


def test_cifar10_python_version(tmp_path: Path) -> None:
    cifar10_python(tmp_path)
    source = load("cifar10", tmp_path)
    assert (source.shape, source.classes, source.augmentation) == ((3, 32, 32), TEN, "crop-flip")
    assert (len(source.train), len(source.validation), len(source.test)) == (36, 4, 8)
    rows, labels = samples(5, 10)
    assert source.test.class_labels.tolist() == labels
    assert source.test.images[:][3, 7, 9].tolist() == [
        rows[3, channel * 1024 + 7 * 32 + 9] for channel in range(3)
    ]
    assert sorted([*source.train.ids, *source.validation.ids]) == list(range(40))


def test_the_id_is_the_place_in_the_published_order(tmp_path: Path) -> None:
    cifar10_python(tmp_path)
    train = load("cifar10", tmp_path).train
    where = int(np.flatnonzero(train.ids // PER_FILE == 3)[0])
    rows, labels = samples(3, 10)
    inside = int(train.ids[where]) % PER_FILE
    assert train.class_labels[where] == labels[inside]
    assert train.images[:][where].transpose(2, 0, 1).ravel().tolist() == rows[inside].tolist()


@pytest.mark.parametrize(
    ("name", "python", "binary"),
    [("cifar10", cifar10_python, cifar10_binary), ("cifar100", cifar100_python, cifar100_binary)],
)
def test_both_versions_hold_the_same(tmp_path: Path, name: str, python: Any, binary: Any) -> None:
    for folder, write in (("p", python), ("b", binary)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder)
    assert everything(load(name, tmp_path / "p")) == everything(load(name, tmp_path / "b"))


def test_one_missing_batch_is_a_missing_data_set(tmp_path: Path) -> None:
    cifar10_python(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_4").unlink()
    with pytest.raises(ArtefactError, match="'cifar10' is not in"):
        load("cifar10", tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"data": samples(0, 10)[0]}, "labels are no list"),
        ({"labels": [1] * 8}, "no rows of 3072"),
        ({"data": samples(0, 10)[0][:, :-1], "labels": [1] * 8}, "no rows of 3072"),
        ({"data": samples(0, 10)[0], "labels": [1] * 7}, "8 images and 7 labels"),
        ({"data": samples(0, 10)[0], "labels": [1.5] * 8}, "labels are no list of integers"),
        ({"data": samples(0, 10)[0], "labels": [2**80] * 8}, "too large"),
        ({"data": samples(0, 10)[0], "labels": [10] * 8}, "label 10, and there are 10 classes"),
    ],
)
def test_a_damaged_batch(tmp_path: Path, content: dict[str, Any], said: str) -> None:
    cifar10_python(tmp_path)
    pickled(tmp_path / "cifar-10-batches-py" / "data_batch_1", **content)
    with pytest.raises(ArtefactError, match=said):
        load("cifar10", tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [({"names": []}, "no list of text"), ({"label_names": ["a"] * 9}, "names 9 classes, not 10")],
)
def test_a_damaged_meta_file(tmp_path: Path, content: dict[str, Any], said: str) -> None:
    cifar10_python(tmp_path)
    pickled(tmp_path / "cifar-10-batches-py" / "batches.meta", **content)
    with pytest.raises(ArtefactError, match=said):
        load("cifar10", tmp_path)


def test_a_binary_batch_that_was_cut_off(tmp_path: Path) -> None:
    cifar10_binary(tmp_path)
    path = tmp_path / "cifar-10-batches-bin" / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtefactError, match="no multiple of the 3073"):
        load("cifar10", tmp_path)


def test_class_names_that_are_no_text(tmp_path: Path) -> None:
    cifar10_binary(tmp_path)
    (tmp_path / "cifar-10-batches-bin" / "batches.meta.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArtefactError, match="it is no text"):
        load("cifar10", tmp_path)
