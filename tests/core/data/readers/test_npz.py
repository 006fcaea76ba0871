"""A folder with train.npz and test.npz is a data set, in the plain or in the JPEG form."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from edgeq.data import load
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(3)
IMAGES = RNG.integers(0, 256, (20, 6, 8, 3), dtype=np.uint8)
LABELS = np.arange(20) % 4


def write(folder: Path, file: str, **content: Any) -> None:
    folder.mkdir(exist_ok=True)
    np.savez(folder / f"{file}.npz", **content)


def jpegs(images: Any) -> dict[str, Any]:
    files = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=95)
        files.append(buffer.getvalue())
    return {
        "jpeg": np.frombuffer(b"".join(files), np.uint8),
        "offsets": np.cumsum([0, *(len(file) for file in files)]),
    }


def test_a_folder_of_the_users_own(tmp_path: Path) -> None:
    write(tmp_path / "mine", "train", images=IMAGES, labels=LABELS)
    write(
        tmp_path / "mine",
        "test",
        images=IMAGES[:5],
        labels=LABELS[:5],
        official_index=np.array([9, 7, 5, 3, 1]),
    )
    source = load(str(tmp_path / "mine"))
    assert (source.name, source.classes, source.shape, source.augmentation) == (
        "mine",
        ("0", "1", "2", "3"),
        (3, 6, 8),
        "none",
    )
    assert (len(source.train), len(source.validation), len(source.test)) == (18, 2, 5)
    assert source.test.ids.tolist() == [9, 7, 5, 3, 1]


def test_the_normalisation_is_measured_on_the_training_part(tmp_path: Path) -> None:
    write(tmp_path, "train", images=IMAGES, labels=LABELS)
    write(tmp_path, "test", images=IMAGES, labels=LABELS)
    source = load(str(tmp_path))
    scaled = source.train.images[:] / 255
    assert source.mean == pytest.approx(scaled.mean((0, 1, 2)))
    assert source.std == pytest.approx(scaled.std((0, 1, 2)))


def test_grey_images_without_an_axis_for_channels(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write(tmp_path, part, images=IMAGES[..., 0], labels=LABELS)
    assert load(str(tmp_path)).shape == (1, 6, 8)


def test_the_jpeg_form(tmp_path: Path) -> None:
    smooth = np.repeat(np.arange(20, dtype=np.uint8) * 12, 6 * 8 * 3).reshape(IMAGES.shape)
    for part in ("train", "test"):
        write(
            tmp_path,
            part,
            **jpegs(smooth),
            labels=LABELS,
            words=np.array(["cat, Felis", "dog, Canis", "owl", "ant"]),
        )
    source = load(str(tmp_path))
    assert source.classes == ("cat", "dog", "owl", "ant")
    assert np.abs(source.test.images[:].astype(int) - smooth).max() <= 2


def test_names_that_are_only_different_as_a_whole_stay_whole(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write(
            tmp_path,
            part,
            images=IMAGES,
            labels=LABELS,
            classes=np.array(["crane, bird", "crane, machine", "c", "d"]),
        )
    assert load(str(tmp_path)).classes[:2] == ("crane, bird", "crane, machine")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"images": IMAGES}, "no 'labels'; it holds images"),
        ({"labels": LABELS}, "no 'images'"),
        ({"labels": LABELS, "jpeg": np.zeros(3, np.uint8)}, "no 'offsets'"),
        ({"images": IMAGES.astype(np.float32), "labels": LABELS}, "float32, not uint8"),
        ({"images": IMAGES, "labels": LABELS[:-1]}, "20 images, but its labels"),
        (
            {"images": IMAGES, "labels": LABELS, "classes": np.array(["a", "b"])},
            "and there are 2 classes",
        ),
        ({"images": IMAGES, "labels": LABELS, "classes": np.array([1, 2])}, "names its classes"),
        ({"images": IMAGES, "labels": LABELS / 2}, "not integers"),
        ({"images": IMAGES, "labels": -LABELS}, "label"),
        ({"images": IMAGES[:, :5], "labels": LABELS}, "hold images of"),
    ],
)
def test_a_damaged_folder(tmp_path: Path, content: dict[str, Any], said: str) -> None:
    write(tmp_path, "train", **content)
    write(tmp_path, "test", images=IMAGES, labels=LABELS)
    with pytest.raises(ArtefactError, match=said):
        load(str(tmp_path))


@pytest.mark.parametrize(("part", "sizes"), [("train", (18, 2, 0)), ("test", (0, 0, 20))])
def test_a_folder_with_one_file_only(tmp_path: Path, part: str, sizes: tuple[int, ...]) -> None:
    write(tmp_path, part, images=IMAGES, labels=LABELS)
    source = load(str(tmp_path))
    assert (len(source.train), len(source.validation), len(source.test)) == sizes
    assert (source.classes, source.shape) == (("0", "1", "2", "3"), (3, 6, 8))


def test_the_real_lossless_part_of_cifar10(data_dir: Path) -> None:
    source = load("cifar10-lossless", data_dir)
    assert (len(source.train), len(source.validation), len(source.test)) == (3_600, 400, 500)
    assert source.classes[3] == "cat"
    with np.load(data_dir / "cifar10-lossless" / "test.npz") as content:
        assert source.test.ids.tolist() == content["official_index"].tolist()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "classes", "test"), [("cifar10-jpeg", 10, 10_000), ("tiny-imagenet100-32", 100, 5_000)]
)
def test_the_real_jpeg_sets(data_dir: Path, name: str, classes: int, test: int) -> None:
    source = load(name, data_dir)
    assert (len(source.train), len(source.validation), len(source.test)) == (45_000, 5_000, test)
    assert (
        np.bincount(source.test.class_labels, minlength=classes).tolist()
        == [test // classes] * classes
    )
