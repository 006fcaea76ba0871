"""From sound to what a network hears: the raw numbers, or a log-mel spectrogram.

A spectrogram is the logarithm of the energy in bands that are equally wide to the ear: frames of
``window`` samples, ``hop`` apart, under a periodic Hann window, their power spectra of ``fft``
points, added up under triangles whose corners are equally spaced in mel, 2595 log10(1 + f / 700).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

FrontEndKind = Literal["raw", "log-mel"]
KINDS: tuple[FrontEndKind, ...] = get_args(FrontEndKind)


@dataclass(frozen=True, slots=True)
class FrontEnd:
    """How sound becomes samples of one size.

    Attributes:
        kind: ``raw``, the numbers of -1 to 1 as they are, or ``log-mel``.
        rate: samples a second that the network was made for.
        length: samples that are kept, from the first; shorter sound is filled up with silence.
        window: samples of a frame.
        hop: samples from one frame to the next.
        fft: points of the spectrum, at least ``window``; the next power of two where it is 0.
        mels: bands.
        low: frequency at which the lowest begins, in Hz.
        high: frequency at which the highest ends, in Hz; half the rate where it is 0.
        floor: added to the energy, of which the natural logarithm is taken.

    Raises:
        UsageError: a value that cannot be; says which.
    """

    kind: FrontEndKind = "raw"
    rate: int = 16_000
    length: int = 16_000
    window: int = 480
    hop: int = 320
    fft: int = 0
    mels: int = 40
    low: float = 20.0
    high: float = 0.0
    floor: float = 1e-6

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise _wrong("kind", self.kind, f"use one of {', '.join(KINDS)}")
        for name in ("rate", "length", "window", "hop", "mels"):
            if getattr(self, name) < 1:
                raise _wrong(name, getattr(self, name), "give 1 or more")
        if self.kind == "log-mel" and self.window > self.length:
            raise _wrong("window", self.window, f"give at most the length, {self.length}")
        if self.fft and self.fft < self.window:
            raise _wrong("fft", self.fft, f"give at least the window, {self.window}")
        if not 0 <= self.low < self.top <= self.rate / 2:
            raise _wrong("low and high", (self.low, self.high), "give 0 <= low < high <= rate / 2")
        if not (math.isfinite(self.floor) and self.floor > 0):
            raise _wrong("floor", self.floor, "give a small positive number")

    @property
    def top(self) -> float:
        """Where the highest band ends, in Hz."""
        return self.high or self.rate / 2

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return 1 + (self.length - self.window) // self.hop

    def apply(self, sound: NDArray[np.float32]) -> NDArray[np.float32]:
        """One recording, (samples,).

        Returns:
            ``raw``: (length,). ``log-mel``: an image of one channel, (1, frames, mels).
        """
        kept = np.zeros(self.length, np.float32)
        kept[: min(len(sound), self.length)] = sound[: self.length]
        if self.kind == "raw":
            return kept
        starts = np.arange(self.frames) * self.hop
        framed = kept[starts[:, None] + np.arange(self.window)].astype(np.float64)
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window)
        power = np.abs(np.fft.rfft(framed * hann, self._points)) ** 2
        return np.log(power @ self._bands().T + self.floor)[None].astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON and TOML can hold it."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Self:
        """What :meth:`to_dict` gave, or a person wrote.

        Raises:
            UsageError: an unknown name, or a value that cannot be.
        """
        plain = cls().to_dict()
        kinds: dict[str, type] = {name: type(value) for name, value in plain.items()}
        for name in told:
            if name not in kinds:
                raise UsageError(
                    f"an audio front end has no {name!r}", hint=f"use some of {', '.join(kinds)}"
                )
        try:
            return cls(**{name: kinds[name](value) for name, value in told.items()})
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"the audio front end cannot be read: {error}",
                hint="write kind, and numbers such as rate=16000",
            ) from error

    @property
    def _points(self) -> int:
        return self.fft or 1 << (self.window - 1).bit_length()

    def _bands(self) -> NDArray[np.float64]:
        """The weight of each frequency in each band: (mels, points // 2 + 1)."""
        low, high = (2595 * math.log10(1 + hertz / 700) for hertz in (self.low, self.top))
        corners = 700 * (10 ** (np.linspace(low, high, self.mels + 2) / 2595) - 1)
        hertz = np.arange(self._points // 2 + 1) * self.rate / self._points
        rising = (hertz - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
        falling = (corners[2:, None] - hertz) / (corners[2:] - corners[1:-1])[:, None]
        weights: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
        return weights


def _wrong(name: str, value: object, hint: str) -> UsageError:
    return UsageError(f"an audio front end cannot have {name} {value}", hint=hint)
