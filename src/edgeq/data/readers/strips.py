"""Strips of features, 49 steps of time by 10, in which a digit is "spoken": for keywords and noise.

Time is the horizontal axis of a handwritten digit of :mod:`~edgeq.data.readers.digits`: it is
stretched to 16 to 36 steps and placed anywhere among 49, over noise that is faint or strong, in the
manner of the 49 x 10 features that keyword spotters on microcontrollers get. Every eleventh strip
or so is noise alone. Strips of a split show digits of the same split of ``digits`` alone. As in
:mod:`~edgeq.data.readers.canvas`, all machines see the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.data.readers import digits
from edgeq.data.readers.canvas import Draws, scaled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.data.source import Split

STEPS, FEATURES = 49, 10
SHORTEST, LONGEST = 16, 36
"""Steps that a digit takes, both included."""
COUNTS = {"train": 3300, "validation": 440, "test": 880}
"""Strips of each split."""
SILENCE = 10
"""The class of strips without a digit."""
CLASSES = (*(str(digit) for digit in range(10)), "silence")
NOISE = {"faint": 32, "strong": 128}
"""Levels that noise stays below."""
_SEED = 100  # others than the canvases'


@dataclass(frozen=True, slots=True, eq=False)
class Strips:
    """A split's strips with all that is known of them.

    Attributes:
        noisy: uint8, (n, 49, 10, 1), what a network hears.
        clean: uint8, (n, 49, 10), the same without noise.
        labels: int64, (n,).
        noise: (n,), ``faint`` or ``strong``.
    """

    noisy: NDArray[np.uint8]
    clean: NDArray[np.uint8]
    labels: NDArray[np.int64]
    noise: NDArray[np.str_]

    __repr__ = brief


def strips(name: str) -> Strips:
    """The strips of a split, ``train``, ``validation`` or ``test``."""
    part: Split = getattr(digits.read(()), name)
    pixels, known = part.images[:][..., 0], part.class_labels
    draws, count = Draws(_SEED + list(COUNTS).index(name)), COUNTS[name]
    clean, labels = np.zeros((count, STEPS, FEATURES), np.uint8), np.full(count, SILENCE)
    for strip, place in zip(clean, range(count), strict=True):
        which = draws.below(len(known) + len(known) // 10)
        length = SHORTEST + draws.below(LONGEST - SHORTEST + 1)
        start = draws.below(STEPS - length + 1)
        if which < len(known):
            strip[start : start + length] = scaled(pixels[which], FEATURES, length).T
            labels[place] = known[which]
    kinds = np.array(list(NOISE))[draws.many(len(NOISE), count)]
    limits = np.array([NOISE[kind] for kind in kinds])
    noise = draws.many(256, clean.size).reshape(clean.shape) * limits[:, None, None] >> 8
    noisy = np.maximum(clean, noise).astype(np.uint8)
    return Strips(noisy[..., np.newaxis], clean, labels.astype(np.int64), kinds)
