"""From sound to what a network hears."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeq.data.front_end import FrontEnd
from edgeq.data.preprocessing import Preprocessing
from edgeq.data.samples import ragged
from edgeq.errors import UsageError


def tone(hertz: float, seconds: float = 1.0, rate: int = 16_000) -> Any:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate).astype(np.float32)


def test_raw_sound_is_cut_or_filled_up_with_silence() -> None:
    front_end = FrontEnd(length=8)
    sound = np.arange(12, dtype=np.float32)
    assert np.array_equal(front_end.apply(sound), sound[:8])
    assert front_end.apply(sound[:3]).tolist() == [0, 1, 2, 0, 0, 0, 0, 0]


def test_a_tone_is_loudest_in_the_band_of_its_frequency() -> None:
    front_end = FrontEnd("log-mel", window=480, hop=320, mels=40)
    found = [front_end.apply(tone(hertz)) for hertz in (300.0, 1000.0, 4000.0)]
    assert {each.shape for each in found} == {(1, 49, 40)}
    loudest = [int(each[0].mean(axis=0).argmax()) for each in found]
    corners = np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 8000 / 700), 42)
    centres = 700 * (10 ** (corners[1:-1] / 2595) - 1)
    assert loudest == [int(np.abs(centres - hertz).argmin()) for hertz in (300, 1000, 4000)]


def test_the_formula_of_one_frame() -> None:
    front_end = FrontEnd("log-mel", rate=8, length=4, window=4, hop=4, mels=1, low=0.0, high=4.0)
    sound = np.array([0.5, -0.25, 0.75, 1.0], np.float32)
    hann = np.array([0, 0.5, 1, 0.5])
    power = np.abs(np.fft.rfft(sound * hann)) ** 2
    mels = 2595 * np.log10(1 + np.array([0, 4]) / 700)
    middle = 700 * (10 ** (mels.mean() / 2595) - 1)
    weights = np.interp([0, 2, 4], [0, middle, 4], [0, 1, 0])
    assert front_end.apply(sound) == pytest.approx(np.log(weights @ power + 1e-6), rel=1e-6)


def test_sound_of_several_lengths_becomes_one_batch() -> None:
    preprocessing = Preprocessing.from_dict({"audio": {"kind": "log-mel"}, "scale": 0.5})
    fed = preprocessing.apply({"": ragged([tone(500), tone(500, 0.3)])})[""]
    assert (fed.shape, fed.dtype.name) == ((2, 1, 49, 40), "float32")
    assert Preprocessing.from_dict(preprocessing.to_dict()) == preprocessing
    assert preprocessing.described().endswith(
        "audio log-mel:rate=16000:length=16000:window=480:"
        "hop=320:fft=0:mels=40:low=20.0:high=0.0:floor=1e-06"
    )


@pytest.mark.parametrize(
    "told",
    [
        {"kind": "mfcc"},
        {"rate": 0},
        {"window": 480, "fft": 256},
        {"kind": "log-mel", "window": 20_000},
        {"low": 9_000},
        {"floor": 0},
        {"hop": "far"},
        {"bands": 3},
    ],
)
def test_refuses_what_cannot_be(told: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        FrontEnd.from_dict(told)
