"""Samples that cannot be used are refused before the work, by name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from edgeq.data import DataSource, Preprocessing, Split, load
from edgeq.data.checks import check, doubts, left_out, readable
from edgeq.data.front_end import FrontEnd
from edgeq.errors import ArtefactError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

RAW = Preprocessing()
RNG = np.random.default_rng(0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(6):
        pixels = RNG.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.{('png', 'jpg', 'bmp')[number % 3]}")
    return tmp_path


def part(photos: Path) -> Split:
    return load(str(photos)).test


def test_whole_files_of_any_kind_pass_wherever_they_were_chosen(photos: Path) -> None:
    check(part(photos), RAW)
    check(part(photos).take(np.array([3, 1])), RAW)


@pytest.mark.parametrize("name", ["0.png", "1.jpg", "2.bmp"])
@pytest.mark.parametrize("kept", [0, 60, 0.5])
def test_a_file_that_is_cut_off_is_named(photos: Path, name: str, kept: float) -> None:
    content = (photos / name).read_bytes()
    (photos / name).write_bytes(content[: int(kept * len(content)) if kept == 0.5 else int(kept)])
    with pytest.raises(ArtefactError, match=rf"{name} cannot be read as an image"):
        check(part(photos), RAW)
    found = readable(part(photos), np.arange(6))
    assert len(found) == 5
    assert left_out(part(photos), np.arange(6), found) == f"1 of 6 samples is left out: {name}"


def test_several_broken_files_are_told_at_once(photos: Path) -> None:
    for name in ("0.png", "5.bmp"):
        (photos / name).write_bytes(b"none")
    with pytest.raises(ArtefactError, match=r"2 of 6 files .* cannot be read: 0\.png, 5\.bmp; the"):
        check(part(photos), RAW)
    check(part(photos).take(np.arange(1, 5)), RAW)


def test_sizes_that_differ_need_something_that_brings_them_to_one(photos: Path) -> None:
    Image.new("RGB", (20, 24)).save(photos / "4.jpg")
    with pytest.raises(UsageError, match=r"0\.png is 16x16, .*4\.jpg is 24x20") as refused:
        check(part(photos), RAW)
    assert "--resize HEIGHTxWIDTH" in refused.value.hint
    with pytest.raises(UsageError, match=r"4\.jpg is 24x20"):
        check(part(photos), Preprocessing(resize=(16,)))
    with pytest.raises(UsageError, match="an image of 16x16 has no middle of 20x20"):
        check(part(photos), Preprocessing(center_crop=(20, 20)))
    for enough in (
        Preprocessing(resize=(8, 8)),
        Preprocessing(letterbox=(8, 8)),
        Preprocessing(center_crop=(16, 16)),
    ):
        check(part(photos), enough)


def test_sound_of_several_lengths_needs_a_front_end(tmp_path: Path) -> None:
    import wave

    for number, length in enumerate((100, 120)):
        with wave.open(str(tmp_path / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(bytes(2 * length))
    with pytest.raises(UsageError, match=r"0\.wav is 100 samples long, .*1\.wav is 120"):
        check(part(tmp_path), RAW)
    check(part(tmp_path), Preprocessing(audio=FrontEnd(rate=8000, length=100)))
    (tmp_path / "1.wav").write_bytes(b"")
    with pytest.raises(ArtefactError, match=r"1\.wav cannot be read as PCM sound"):
        check(part(tmp_path), RAW)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
@pytest.mark.parametrize("stored", [False, True])
def test_numbers_that_are_none_are_told_with_their_place(
    tmp_path: Path, odd: float, stored: bool
) -> None:
    values = RNG.normal(size=(200, 5)).astype(np.float32)
    values[[70, 190], 2] = odd
    file = tmp_path / "x.npy"
    np.save(file, values)
    split = part(file) if stored else Split({"sound": values}, None, np.arange(200))
    what = f"the samples of {file}" if stored else "the input 'sound'"
    with pytest.raises(ArtefactError, match="hold NaN or infinity, number 70 first") as refused:
        check(split, RAW)
    assert refused.value.what.startswith(f"2 of 200 of {what} hold")
    check(split.take(np.arange(70)), RAW)
    assert "--skip-broken" in refused.value.hint
    assert readable(split, np.arange(68, 73)).tolist() == [68, 69, 71, 72]


def labelled(*labels: Any, classes: int = 3, task: str = "top1", **columns: Any) -> DataSource:
    values = np.array(labels)
    held = values if len(values) else None
    images = np.zeros((max(len(values), 3), 4), np.float32)
    part = Split({"": images}, held, np.arange(len(images)), columns=columns)
    none = part.take(np.zeros(0, np.int64))
    named = tuple("abcdef"[:classes])
    return DataSource("mine", named, none, none, part, RAW, task=task)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (labelled(0, 1, 2), None),
        (labelled(1, 2, 1), "no sample has the class 0: networks count from 0"),
        (labelled(0, 0, classes=1), "there is one class, 'a'"),
        (labelled(0.0, 2.0, task="mae"), "whole numbers stored as float ones"),
        (labelled(0.5, 2.0, task="mae"), None),
        (labelled(), None),
        (labelled(kind=np.array(["x", "y", "x"])), "called label, .*; there are kind (2 values)"),
    ],
)
def test_what_is_odd_about_labels(source: DataSource, said: str | None) -> None:
    found = list(doubts(source))
    assert len(found) == (said is not None)
    assert said is None or said.partition(".*")[0] in found[0]
    assert said is None or said.rpartition(".*")[2] in found[0]


def test_classes_that_a_part_lacks_are_named() -> None:
    source = labelled(0, 1, 2)
    train = source.test.take(np.array([0, 2]))
    assert list(doubts(replace(source, train=train))) == ["train has no sample of b"]


def test_samples_without_numbers_are_refused_by_name() -> None:
    empty = Split({"left": np.zeros((4, 0, 8), np.float32)}, None, np.arange(4))
    with pytest.raises(UsageError, match="the samples of 'left' are empty: each is 0x8"):
        check(empty, Preprocessing())


def test_what_is_left_out_has_the_number_that_the_error_names(tmp_path: Path) -> None:
    """The number in the file, of which a part is kept for validation."""
    inputs = np.ones((100, 4), np.float32)
    inputs[97, 2] = np.nan
    np.savez(tmp_path / "train.npz", inputs=inputs, labels=np.arange(100) % 4)
    train = load(str(tmp_path)).train
    assert len(train) < 100
    with pytest.raises(ArtefactError, match="number 97 first"):
        check(train, RAW)
    everything = np.arange(len(train))
    assert left_out(train, everything, readable(train, everything)).endswith("is left out: 97")
