"""Sound in .wav files."""

from __future__ import annotations

import wave
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeq.data import Preprocessing, load, normalize
from edgeq.data.checks import check
from edgeq.data.front_end import FrontEnd
from edgeq.errors import ArtefactError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

LEVELS = np.array([0.0, 0.5, -0.5, -1.0])


def sound(
    path: Path, levels: Any = LEVELS, *, width: int = 2, rate: int = 8000, ways: int = 1
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = np.rint(np.repeat(levels, ways) * 2 ** (8 * width - 1)).astype(np.int64)
    whole = whole + 128 if width == 1 else whole
    content = whole.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :width]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(ways)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(content.tobytes())


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("ways", [1, 2])
def test_every_width_is_read_as_minus_one_to_one(tmp_path: Path, width: int, ways: int) -> None:
    sound(tmp_path / "a.wav", width=width, ways=ways)
    (found,) = load(str(tmp_path)).test.images[:]
    assert (found.dtype, found.tolist()) == (np.float32, LEVELS.tolist())


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    sound(tmp_path / "test" / "no" / "a.wav")
    sound(tmp_path / "test" / "yes" / "b.wav", LEVELS[:2])
    source = load(str(tmp_path))
    assert source.classes == ("no", "yes")
    heard = Preprocessing(audio=FrontEnd(rate=8000, length=6))
    fed = normalize(source.test.images, replace(source, preprocessing=heard))
    assert fed.tolist() == [[0, 0.5, -0.5, -1, 0, 0], [0, 0.5, 0, 0, 0, 0]]


def test_hidden_files_are_left_out(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    sound(tmp_path / "._a.wav")
    assert list(load(str(tmp_path)).test.names) == ["a.wav"]


def test_files_of_another_rate_are_named(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    sound(tmp_path / "b.wav", rate=16000)
    with pytest.raises(ArtefactError, match=r"b\.wav has 16000 samples a second"):
        load(str(tmp_path)).test.images[:]


def test_what_is_no_pcm_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF0000WAVE")
    with pytest.raises(ArtefactError, match="cannot be read as PCM"):
        load(str(tmp_path))


def test_real_speech(data_dir: Path) -> None:
    folder = data_dir / "real" / "audio"
    if not folder.is_dir():
        pytest.skip("no real audio there")
    source = load(str(folder))
    heard = Preprocessing(audio=FrontEnd("log-mel"))
    fed = normalize(source.test.images, replace(source, preprocessing=heard))
    assert fed.shape == (1, 1, 49, 40)
    assert np.isfinite(fed).all()


@pytest.mark.parametrize("lost", [1, 2, 5, 8])
@pytest.mark.parametrize("look", [True, False])
def test_sound_that_is_cut_short_is_named(tmp_path: Path, lost: int, look: bool) -> None:
    sound(tmp_path / "a.wav")
    sound(tmp_path / "b.wav")
    whole = (tmp_path / "b.wav").read_bytes()
    (tmp_path / "b.wav").write_bytes(whole[:-lost])
    part = load(str(tmp_path)).test
    there = (8 - lost) // 2
    with pytest.raises(ArtefactError, match=rf"b\.wav is cut short: .* 4 frames, and {there} are"):
        check(part, Preprocessing()) if look else part.images[:]


@pytest.mark.parametrize("look", [True, False])
def test_sound_of_no_length_is_named(tmp_path: Path, look: bool) -> None:
    sound(tmp_path / "a.wav")
    sound(tmp_path / "b.wav", np.zeros(0))
    part = load(str(tmp_path)).test
    with pytest.raises(ArtefactError, match=r"b\.wav holds no sound"):
        check(part, Preprocessing()) if look else part.images[:]


def test_a_front_end_of_another_rate_is_refused(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    with pytest.raises(UsageError, match="8000 samples a second, and the front end is for 16000"):
        load(str(tmp_path)).with_preprocessing(Preprocessing(audio=FrontEnd("log-mel")))


def test_rows_of_floats_are_sound(tmp_path: Path) -> None:
    sound(tmp_path / "sounds" / "a.wav")
    np.save(tmp_path / "rows.npy", LEVELS[None].astype(np.float32))
    heard = Preprocessing(audio=FrontEnd("log-mel", rate=8000, length=8, window=4, hop=2, mels=2))
    files, rows = (
        heard.apply({"": load(str(tmp_path / name)).test.images[:]})[""]
        for name in ("sounds", "rows.npy")
    )
    assert files.shape == (1, 1, 3, 2)
    np.testing.assert_array_equal(files, rows)
