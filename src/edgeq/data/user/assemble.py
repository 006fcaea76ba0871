"""From the parts of the user's data that were found to a data source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.data.preprocessing import Preprocessing
from edgeq.data.samples import Subset
from edgeq.data.source import DataSource, Split
from edgeq.data.splitting import hold_out_tenth
from edgeq.data.user.images import ImageFiles, is_image_file
from edgeq.data.user.wav import WavFiles, is_sound_file
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgeq.data.samples import Samples
    from edgeq.data.source import Labels

PARTS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
}
"""What people call the parts of their data, and what edgeq does."""
EIGHT_BITS = Preprocessing.normalized((), ())
"""Of images whose preprocessing nobody has told: scaled to 0..1."""


def assemble(
    name: str, parts: Mapping[str, Split], classes: Sequence[str] = (), *, task: str = "top1"
) -> DataSource:
    """A data source of the parts that there are.

    Validation is a tenth of the training samples where it is not given; the test is the validation
    where there is no other; samples that belong to no part are for the test.

    Args:
        name: what the user called it.
        parts: some of ``train``, ``validation`` and ``test``.
        classes: the name of each label.
        task: whose labels these are.
    """
    some = next(iter(parts.values()))
    none = some.take(np.zeros(0, np.int64))
    train, validation = parts.get("train", none), parts.get("validation")
    if validation is None:
        train, validation = hold_out_tenth(train) if len(train) > 1 else (train, none)
        test = parts.get("test", none)
    else:
        test = parts.get("test", validation)
    preprocessing = EIGHT_BITS if any(map(_are_images, some.inputs.values())) else Preprocessing()
    return DataSource(name, tuple(classes), train, validation, test, preprocessing, task=task)


def _are_images(samples: Samples) -> bool:
    if isinstance(samples, Subset):
        return _are_images(samples.samples)
    eight_bits = samples.dtype == np.uint8 and len(samples.shape) == 4
    return eight_bits or bool(getattr(samples, "are_images", False))


def of_files(
    folder: Path,
    paths: Sequence[str],
    labels: Labels | None = None,
    columns: Mapping[str, np.ndarray[Any, np.dtype[Any]]] | None = None,
) -> Split:
    """Images or sound in files.

    Args:
        folder: where the paths begin.
        paths: of the files.
        labels: of each.
        columns: what else is known of each.

    Raises:
        ArtefactError: the first is neither, or broken.
    """
    first = folder / paths[0]
    samples: Samples
    if is_sound_file(first.name):
        samples = WavFiles.of(folder, paths)
    elif is_image_file(first.name):
        samples = ImageFiles.of(folder, paths)
    else:
        raise ArtefactError(
            f"{first} is neither an image nor .wav sound",
            hint="name image files, .wav files, or arrays in .npy files",
        )
    return Split({"": samples}, labels, np.arange(len(paths)), paths, columns or {})


def numbered(labels: Sequence[str], known: Sequence[str] = ()) -> tuple[np.ndarray, list[str]]:
    """Labels as places among the sorted names, those that are numbers by their value.

    Args:
        labels: a name for each sample.
        known: the names in the order of the network, where the user gave it.

    Returns:
        int64, (n,), and the names.
    """
    names = list(known) or sorted(
        set(labels), key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name)
    )
    place = {name: index for index, name in enumerate(names)}
    return np.array([place[label] for label in labels], np.int64), names
