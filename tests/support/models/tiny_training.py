"""A recipe and data so small that a whole training takes less than a second."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.data.preprocessing import Preprocessing
from edgeq.data.source import DataSource, Split
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme
from edgeq.training.run import loop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


SHAPE = (8, 8, 1)
# as a network of the zoo is trained from scratch
SCHEME = Scheme(4, 4).settled(normalize_weights=True)
RECIPE = Recipe("stable-resnet8", "made-up", SCHEME, epochs=3, batch_size=16, anneal_from=5, seed=1)


def split(samples: int, seed: int) -> Split:
    """Images that a network can tell apart: each class has a bright quarter."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, samples)
    images = rng.integers(0, 120, (samples, *SHAPE))
    for image, label in zip(images, labels, strict=True):
        image[4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4] += 100
    return Split(
        {"": images.astype(np.uint8)}, labels.astype(np.int64), np.arange(samples, dtype=np.int64)
    )


def source(train: int = 80, augmentation: Any = "crop-flip") -> DataSource:
    return DataSource(
        "made-up",
        ("a", "b", "c", "d"),
        split(train, 0),
        split(24, 1),
        split(20, 2),
        Preprocessing.normalized((0.4,), (0.2,)),
        augmentation,
    )


def stop_after(steps: int) -> Callable[[loop.Progress], None]:
    """Press Ctrl-C once, after so many steps."""
    seen = []

    def report(progress: loop.Progress) -> None:
        seen.append(progress)
        if len(seen) == steps:
            signal.raise_signal(signal.SIGINT)

    return report


def weights(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (loop.LAST, loop.BEST)}
