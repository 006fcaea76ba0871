"""Sound in ``.wav`` files, decoded when their batch is asked for."""

from __future__ import annotations

import wave
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.brief import brief
from edgeq.data.samples import Files, LeftOut, LookedAt, ragged
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SUFFIXES = (".wav",)
CHANNELS = LeftOut(
    "several channels, of which the mean is read",
    "where one of them counts alone, write it as a file of its own",
)


@dataclass(frozen=True, slots=True, eq=False)
class WavFiles(Files):
    """Recordings, each float32 of -1 to 1, (samples,), the mean of its channels.

    Attributes:
        rate: samples a second, of all of them.
    """

    rate: int

    __repr__ = brief

    @classmethod
    def of(cls, folder: Path, paths: Sequence[str]) -> WavFiles:
        """Files whose rate is that of the first.

        Raises:
            ArtefactError: it is missing, no PCM file, or cut short.
        """
        _, rate = _read(str(folder / paths[0]))
        return cls(folder, paths, rate)

    def __getitem__(self, where: slice | NDArray[np.int64]) -> NDArray[Any]:
        found = []
        for path in self.at(where):
            sound, rate = _read(path)
            self._check_rate(path, rate)
            found.append(sound)
        return ragged(found)

    def look(self, place: int) -> LookedAt:
        """(samples,), as the head of the file says.

        Raises:
            ArtefactError: it is missing, no PCM file, cut short, or of another rate.
        """
        path = self.path(place)
        with _opened(path) as file:
            self._check_rate(path, file.getframerate())
            left_out = (CHANNELS,) if file.getnchannels() > 1 else ()
            size = file.getnframes()
            file.setpos(max(size - 1, 0))
            if len(file.readframes(1)) == file.getsampwidth() * file.getnchannels():
                return LookedAt((size,), left_out)
        return LookedAt(_read(path)[0].shape, left_out)  # which refuses it

    def _check_rate(self, path: str, rate: int) -> None:
        if rate != self.rate:
            raise ArtefactError(
                f"{path} has {rate} samples a second, and the first file {self.rate}",
                hint="bring all files to one rate, with ffmpeg -ar for example",
            )


def is_sound_file(name: str) -> bool:
    """Whether the name of a file says so."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


@contextmanager
def _opened(path: str) -> Iterator[wave.Wave_read]:
    try:
        with wave.open(path, "rb") as file:
            yield file
    except (OSError, EOFError, wave.Error) as error:
        raise ArtefactError(
            f"{path} cannot be read as PCM sound: {error}",
            hint="convert it, with ffmpeg -c:a pcm_s16le for example",
        ) from error


def _read(path: str) -> tuple[NDArray[np.float32], int]:
    with _opened(path) as file:
        width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
        told = file.getnframes()
        whole = file.readframes(told)
    held = len(whole) // (width * channels)
    if held < told or not told:
        raise _incomplete(path, told, held)
    if width == 1:
        levels = np.frombuffer(whole, np.uint8).astype(np.float32) - 128
    elif width == 3:
        padded = np.zeros((len(whole) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(whole, np.uint8).reshape(-1, 3)
        levels = (padded.view("<i4")[:, 0] >> 8).astype(np.float32)
    else:
        levels = np.frombuffer(whole, f"<i{width}").astype(np.float32)
    sound = levels / np.float32(2 ** (8 * width - 1))
    return sound.reshape(-1, channels).mean(axis=1, dtype=np.float32), rate


def _incomplete(path: str, told: int, held: int) -> ArtefactError:
    if not told:
        return ArtefactError(f"{path} holds no sound", hint="record it again, or take it out")
    return ArtefactError(
        f"{path} is cut short: its head tells of {told:,} frames, and {held:,} are there",
        hint="copy or record it again; where a program wrote it into a pipe, and so without a "
        "length, let it write a file",
    )
