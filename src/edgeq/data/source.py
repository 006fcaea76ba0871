"""What a data set is: raw samples, read when they are asked for, labels, and ids that never change.

Images stay uint8 until a batch is asked for, so a whole CIFAR needs 180 MB and not the 740 MB of
its float form, and so that augmentation works on the same raw pixels that a camera would deliver.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from edgeq.brief import brief
from edgeq.data.preprocessing import Preprocessing
from edgeq.data.samples import Samples, SomeNames, Subset, choose, with_channels_behind
from edgeq.errors import ArtefactError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Augmentation = Literal["none", "crop-flip", "affine"]


class Labels(Protocol):
    """One label for each sample: an array, or a sequence such as of boxes."""

    def __len__(self) -> int: ...

    def __getitem__(self, where: slice, /) -> Any: ...


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One part of a data set.

    Attributes:
        inputs: input name to samples; the name of the only one may be empty. Images are uint8, (n,
            height, width, channels).
        labels: what is right for each sample: int64, (n,), an index into the data set's classes;
            for detection and keypoints a sequence of :class:`edgeq.data.Boxes`, for segmentation
            integer samples (n, height, width), for regression float samples. None where nothing is
            known.
        ids: int64, (n,), the sample's place in the published order of the file it comes from; the
            same in every run, so that two runs can be compared sample by sample. Unique inside a
            split.
        names: the file of each sample, where each has one of its own.
        columns: what else is known of each sample, to look at some of them alone: name to text or
            integers, (n,).
    """

    inputs: Mapping[str, Samples]
    labels: Labels | None
    ids: NDArray[np.int64]
    names: Sequence[str] = ()
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    __repr__ = brief

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def images(self) -> Samples:
        """The only input.

        Raises:
            UsageError: there are several.
        """
        if len(self.inputs) != 1:
            raise UsageError(
                f"the data have {len(self.inputs)} inputs, {', '.join(self.inputs)}, and one is "
                "needed here",
                hint="choose data with one input",
            )
        return next(iter(self.inputs.values()))

    @property
    def class_labels(self) -> NDArray[np.int64]:
        """The labels as classes: int64, (n,).

        Raises:
            UsageError: there are no labels, or they are no classes.
        """
        if not isinstance(self.labels, np.ndarray) or self.labels.dtype.kind not in "iu":
            what = "no labels" if self.labels is None else "labels that are no classes"
            raise UsageError(
                f"the data have {what}, and classes are needed here",
                hint="sort the images into a folder for each class, or list them with their "
                "labels in a CSV file",
            )
        return self.labels

    def take(self, where: NDArray[np.int64]) -> Split:
        """The samples at these positions, in this order; arrays in memory are copied."""
        return Split(
            {name: choose(samples, where) for name, samples in self.inputs.items()},
            None if self.labels is None else _chosen(self.labels, where),
            self.ids[where],
            SomeNames.of(self.names, where) if self.names else (),
            {name: values[where] for name, values in self.columns.items()},
        )


@dataclass(frozen=True, slots=True, eq=False)
class DataSource:
    """A data set, split for training, and how its samples become a network's input.

    Attributes:
        name: what the user called it.
        classes: the name of each label.
        train: the samples to fit weights on.
        validation: the samples to choose checkpoints and hyper-parameters by.
        test: the published test set, to be used once.
        preprocessing: from raw samples to what the network is fed.
        augmentation: what training does to an image before it is normalised.
        task: whose labels these are, by the name of an entry point of ``edgeq.tasks``.
        remark: what a reader of figures has to know of the samples, a sentence; empty for nothing.
        order: what of the user's says the order of the classes; empty where nothing does.
        own_preprocessing: the data's own, where samples are fed otherwise; None where they are not.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    preprocessing: Preprocessing
    augmentation: Augmentation = "none"
    task: str = "top1"
    remark: str = ""
    order: str = ""
    own_preprocessing: Preprocessing | None = None

    __repr__ = brief

    @property
    def mean(self) -> tuple[float, ...]:
        """Per channel, subtracted once a sample is scaled."""
        return self.preprocessing.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Per channel, divided by."""
        return self.preprocessing.std

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The dimensions of one sample of each input, as the network is fed it."""
        some = next(
            (part for part in (self.test, self.train, self.validation) if len(part)), self.test
        )
        probe = {
            name: _first_readable(samples)
            if samples.dtype == object
            else np.zeros((1, *samples.shape[1:]), samples.dtype)
            for name, samples in some.inputs.items()
        }
        return {name: fed.shape[1:] for name, fed in self.preprocessing.apply(probe).items()}

    @property
    def shape(self) -> tuple[int, ...]:
        """The dimensions of one sample of the only input: channels, height and width of images.

        Raises:
            UsageError: there are several inputs.
        """
        shapes = self.shapes
        if len(shapes) != 1:
            raise UsageError(
                f"{self.name} has the inputs {', '.join(shapes)}, and one is needed here",
                hint="choose data with one input",
            )
        return next(iter(shapes.values()))

    def with_preprocessing(self, preprocessing: Preprocessing) -> DataSource:
        """The same samples, fed otherwise.

        Raises:
            UsageError: the preprocessing does not suit them.
        """
        changed = replace(self, preprocessing=preprocessing)
        for part in (self.train, self.validation, self.test):
            for samples in part.inputs.values():
                _check_rate(samples, preprocessing)
        _ = changed.shapes  # which refuses what cannot be
        return changed

    def with_normalization(self, mean: Sequence[float], std: Sequence[float]) -> DataSource:
        """The same images scaled to 0..1, less another mean, over another deviation.

        Raises:
            UsageError: not one finite value a channel, or a standard deviation that is not
                positive.
        """
        values = Preprocessing.normalized(mean, std)
        return self.with_preprocessing(self.preprocessing.with_values(values))


def _check_rate(samples: Samples, preprocessing: Preprocessing) -> None:
    """Refuse sound whose rate is known and not that of the front end: its bands would be others."""
    front_end, behind = preprocessing.audio, samples
    while isinstance(behind, Subset):
        behind = behind.samples
    rate = getattr(behind, "rate", None)
    if front_end is not None and rate not in (None, front_end.rate):
        raise UsageError(
            f"the sound has {rate} samples a second, and the front end is for {front_end.rate}",
            hint=f"bring the files to that rate, with ffmpeg -ar {front_end.rate} for example; "
            f"where the network was made for theirs, say --audio {front_end.kind}:rate={rate}",
        )


def _first_readable(samples: Samples) -> Any:
    """The first sample that is not broken, as a batch of one.

    Raises:
        ArtefactError: all are broken; about the first of them.
    """
    for place in range(len(samples)):
        with suppress(ArtefactError):
            return samples[place : place + 1]
    return samples[:1]


def _chosen(labels: Labels, where: NDArray[np.int64]) -> Labels:
    if isinstance(labels, Samples):
        return choose(labels, where)
    return [labels[position : position + 1][0] for position in where]


def make_split(
    images: Samples,
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
    return Split({"": images}, labels, ids)


def _checked_images(images: Samples, where: object) -> Samples:
    if images.dtype != np.uint8:
        raise _broken(where, f"its images are {images.dtype}, not uint8")
    if len(images.shape) == 3:
        images = with_channels_behind(images)
    if len(images.shape) != 4 or 0 in images.shape:
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
