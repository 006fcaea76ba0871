"""What a data set is once it is in memory.

Raw 8-bit images, labels and sample ids that never change between runs.

Images stay uint8 until a batch is asked for, so a whole CIFAR needs 180 MB and not the 740 MB of
its float form, and so that augmentation works on the same raw pixels that a camera would deliver.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgeq.brief import brief
from edgeq.errors import ArtefactError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Augmentation = Literal["none", "crop-flip", "affine"]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One part of a data set.

    Attributes:
        images: uint8, (n, height, width, channels).
        labels: int64, (n,), an index into the data set's classes.
        ids: int64, (n,), the sample's place in the published order of the file it comes from; the
            same in every run, so that two runs can be compared sample by sample. Unique inside a
            split.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]

    __repr__ = brief

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, where: NDArray[np.int64]) -> Split:
        """The samples at these positions, in this order, as a copy."""
        return Split(self.images[where], self.labels[where], self.ids[where])


@dataclass(frozen=True, slots=True, eq=False)
class DataSource:
    """A data set, split for training, and how its images become a network's input.

    Attributes:
        name: what the user called it.
        classes: the name of each label.
        train: the samples to fit weights on.
        validation: the samples to choose checkpoints and hyper-parameters by.
        test: the published test set, to be used once.
        mean: per channel, of images scaled to 0..1.
        std: per channel, of images scaled to 0..1.
        augmentation: what training does to an image before it is normalised.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation

    __repr__ = brief

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one sample."""
        height, width, channels = self.test.images.shape[1:]
        return channels, height, width

    def with_normalization(self, mean: Sequence[float], std: Sequence[float]) -> DataSource:
        """The same samples with another normalisation, for a network that was trained with it.

        Raises:
            UsageError: not one finite value a channel, or a standard deviation that is not
                positive.
        """
        channels = self.shape[0]
        if len(mean) != channels or len(std) != channels:
            raise UsageError(
                f"{self.name} has {channels} channels, but the normalisation has "
                f"{len(mean)} means and {len(std)} deviations",
                hint=f"give {channels} of each",
            )
        if not all(math.isfinite(value) for value in (*mean, *std)) or min(std) <= 0:
            raise UsageError(
                f"mean {tuple(mean)} and std {tuple(std)} cannot normalise",
                hint="give finite means and positive deviations",
            )
        return replace(self, mean=tuple(mean), std=tuple(std))


def make_split(
    images: NDArray[Any],
    labels: NDArray[Any],
    classes: int,
    where: object,
    ids: NDArray[Any] | None = None,
) -> Split:
    """Check what a file held and give it the types of a :class:`Split`.

    Args:
        images: (n, height, width) or (n, height, width, channels).
        labels: (n,), any integer type.
        classes: how many classes there are.
        where: the file, for messages.
        ids: (n,), any integer type; the position in the file where none are given.

    Raises:
        ArtefactError: a wrong dtype or shape, no sample, a count that differs, a label without a
            class, or an id used twice.
    """
    images = _checked_images(images, where)
    labels = _checked_integers("labels", labels, len(images), where)
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        first = wrong[0]
        raise _broken(
            where,
            f"sample {first} has the label {labels[first]}, and there are {classes} "
            f"classes (0 to {classes - 1})",
        )
    ids = (
        np.arange(len(images), dtype=np.int64)
        if ids is None
        else _checked_integers("ids", ids, len(images), where)
    )
    if len(np.unique(ids)) != len(ids):
        raise _broken(where, "its sample ids are not unique")
    return Split(images, labels, ids)


def _checked_images(images: NDArray[Any], where: object) -> NDArray[np.uint8]:
    if images.dtype != np.uint8:
        raise _broken(where, f"its images are {images.dtype}, not uint8")
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or 0 in images.shape:
        raise _broken(
            where,
            f"its images have the shape {images.shape}, not (n, height, width) or (n, "
            "height, width, channels)",
        )
    return images


def _checked_integers(
    name: str, values: NDArray[Any], count: int, where: object
) -> NDArray[np.int64]:
    if values.dtype.kind not in "iu":
        raise _broken(where, f"its {name} are {values.dtype}, not integers")
    if values.shape != (count,):
        raise _broken(where, f"it has {count} images, but its {name} have the shape {values.shape}")
    return values.astype(np.int64)


def _broken(where: object, what: str) -> ArtefactError:
    return ArtefactError(
        f"{where} is no usable data set: {what}", hint="write or download the file again"
    )
