"""Folders of images or sound, with a folder for each class, or without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from edgeq.data import load, normalize
from edgeq.errors import ArtefactError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


def image(path: Path, level: int = 0, size: tuple[int, int] = (4, 6), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (size[1], size[0]), level if mode == "L" else (level, 10, 20)).save(path)


def test_a_folder_for_each_class_of_each_part(tmp_path: Path) -> None:
    for part, count in (("train", 10), ("val", 2), ("test", 3)):
        for label, name in enumerate(("cat", "dog")):
            for number in range(count):
                image(tmp_path / part / name / f"{number}.png", 50 * label + number)
    source = load(str(tmp_path))
    assert source.classes == ("cat", "dog")
    assert [len(part) for part in (source.train, source.validation, source.test)] == [20, 4, 6]
    assert source.test.class_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert source.test.names[4] == "test/dog/1.png"
    assert source.shape == (3, 4, 6)
    fed = normalize(source.test.images, source)
    assert (fed[4, :, 0, 0] * 255).tolist() == pytest.approx([51, 10, 20])


def test_without_a_validation_part_a_tenth_of_training_validates(tmp_path: Path) -> None:
    for number in range(20):
        image(tmp_path / "train" / str(number % 2) / f"{number}.png")
    image(tmp_path / "test" / "1" / "0.png")
    source = load(str(tmp_path))
    assert [len(part) for part in (source.train, source.validation, source.test)] == [18, 2, 1]
    assert source.test.class_labels.tolist() == [1]


def test_classes_alone_are_for_the_test(tmp_path: Path) -> None:
    for name in ("2", "10", "1"):
        image(tmp_path / name / "deeper" / "a.png")
    source = load(str(tmp_path))
    assert (len(source.train), len(source.test)) == (0, 3)
    assert source.classes == ("1", "2", "10"), "numbers are sorted by value"


def test_classes_in_the_order_of_the_network(tmp_path: Path) -> None:
    image(tmp_path / "cat" / "a.png")
    image(tmp_path / "dog" / "a.png")
    (tmp_path / "classes.txt").write_text("dog\nbird\ncat\n")
    source = load(str(tmp_path))
    assert (source.classes, source.order) == (("dog", "bird", "cat"), "classes.txt")
    assert source.test.class_labels.tolist() == [2, 0]
    (tmp_path / "classes.txt").write_text("dog\n")
    with pytest.raises(ArtefactError, match="does not name 'cat'"):
        load(str(tmp_path))


def test_images_without_labels(tmp_path: Path) -> None:
    for number in range(3):
        image(tmp_path / f"{number}.jpg", size=(4 + number, 6))
    (tmp_path / "README.txt").write_text("beside them")
    source = load(str(tmp_path))
    assert source.test.labels is None
    assert len(source.test) == 3
    with pytest.raises(UsageError, match="no labels, and classes are needed here"):
        _ = source.test.class_labels
    with pytest.raises(UsageError, match="the samples differ in size"):
        normalize(source.test.images, source)


def test_grey_images_keep_one_channel_where_all_are_grey(tmp_path: Path) -> None:
    image(tmp_path / "grey" / "a.png", mode="L")
    assert load(str(tmp_path / "grey")).shape == (1, 4, 6)
    image(tmp_path / "mixed" / "a.png", 7, mode="L")
    image(tmp_path / "mixed" / "b.png", 7)
    source = load(str(tmp_path / "mixed"))
    assert source.shape == (3, 4, 6)
    assert source.test.images[:1][0][0, 0].tolist() == [7, 7, 7]


def test_images_beside_folders_are_refused_with_a_right_tree(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    image(tmp_path / "cat" / "b.png")
    with pytest.raises(ArtefactError, match=r"holds a.png beside the folder cat") as refused:
        load(str(tmp_path))
    assert "photos/train/cat/1.jpg\n" in refused.value.hint


def test_a_folder_of_data_sets_is_no_folder_of_classes(tmp_path: Path) -> None:
    image(tmp_path / "pets" / "train" / "cat" / "a.png")
    image(tmp_path / "cars" / "a.png")
    with pytest.raises(ArtefactError, match="pets has a folder train") as refused:
        load(str(tmp_path))
    assert refused.value.hint == f"name one of them: {tmp_path / 'pets'}"


def test_an_empty_class_does_not_move_the_others(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        image(tmp_path / "train" / name / "a.png")
    image(tmp_path / "test" / "dog" / "a.png")
    (tmp_path / "test" / "cat").mkdir()
    assert load(str(tmp_path)).test.class_labels.tolist() == [1]
    (tmp_path / "train" / "bird").mkdir()
    with pytest.raises(ArtefactError, match="bird would be no class"):
        load(str(tmp_path))
    (tmp_path / "classes.txt").write_text("bird\ncat\ndog\n")
    assert load(str(tmp_path)).test.class_labels.tolist() == [2]


@pytest.mark.parametrize(
    ("images", "labels", "form"),
    [
        ("train/images/1.png", "train/masks/1.png", "seg/train/labels.npy"),
        ("images/test/1.png", "Labels/test/1_mask.png", "seg/train/labels.npy"),
        ("images/train/1.png", "labels/train/1.txt", "COCO's JSON"),
    ],
)
def test_labels_in_files_are_no_class(tmp_path: Path, images: str, labels: str, form: str) -> None:
    image(tmp_path / images)
    image((tmp_path / labels).with_suffix(".png"))
    (tmp_path / labels).with_suffix(".png").rename(tmp_path / labels)
    with pytest.raises(ArtefactError, match="1 name is alike") as refused:
        load(str(tmp_path))
    assert form in refused.value.hint
    if "train/" in images[:6]:
        (tmp_path / "classes.txt").write_text("images\nmasks\n")
        assert load(str(tmp_path)).classes == ("images", "masks")


def test_classes_named_as_labels_are_classes(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.png")
    image(tmp_path / "labels" / "b.png")
    assert load(str(tmp_path)).classes == ("images", "labels")


@pytest.mark.parametrize("held", [[], ["notes.txt"]])
def test_a_folder_of_nothing_is_shown_what_is_right(tmp_path: Path, held: list[str]) -> None:
    for name in held:
        (tmp_path / name).write_text("nothing")
    with pytest.raises(ArtefactError, match="no data that edgeq reads") as refused:
        load(str(tmp_path))
    assert refused.value.hint.count("\n") == 5


def test_an_image_that_is_none_is_named(tmp_path: Path) -> None:
    for number in range(20):
        image(tmp_path / f"{number:02}.png")
    (tmp_path / "01.png").write_bytes(b"none")
    source = load(str(tmp_path))
    with pytest.raises(ArtefactError, match=r"01\.png cannot be read as an image"):
        source.test.images[:]


def test_more_than_eight_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ArtefactError, match="more than 8 bits"):
        load(str(tmp_path)).test.images[:]
