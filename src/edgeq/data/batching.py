"""From raw images to what a network is fed, one batch at a time.

So memory does not grow with the data set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.data.boxes import Boxes
from edgeq.data.preprocessing import Preprocessing, is_image
from edgeq.errors import ArtefactError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edgeq.data.geometry import Placement
    from edgeq.data.samples import Samples
    from edgeq.data.source import DataSource, Split
    from edgeq.target import Batch, TensorSpec


CHUNK = 64
"""Samples that are read at a time where a whole split is gone through."""


def normalize(images: Samples, source: DataSource) -> NDArray[np.float32]:
    """Samples as a network is fed them, by the preprocessing of a data set.

    Args:
        images: of images uint8, (n, height, width, channels).
        source: whose preprocessing to use.

    Returns:
        Of images float32, (n, channels, height, width), contiguous.
    """
    return source.preprocessing.apply({"": images[:]})[""]


def batches(
    split: Split, source: DataSource, size: int
) -> Iterator[tuple[NDArray[np.float32], Any]]:
    """Samples as the network is fed them, and their labels, in the split's order.

    The last may be smaller. There are no labels, but None, where the split has none.

    Raises:
        UsageError: ``size`` is below 1, or there are several inputs.
    """
    images, labels = split.images, split.labels

    def fed(part: slice) -> tuple[NDArray[np.float32], Any]:
        raw = images[part]
        found = source.preprocessing.apply({"": raw})[""]
        return found, None if labels is None else _as_fed(labels[part], raw, source.preprocessing)

    return map(fed, parts_of(len(split), size))


def labels_as_fed(split: Split, source: DataSource, where: slice) -> Any:
    """The labels of some samples, with boxes, keypoints and masks where the network sees them."""
    labels = None if split.labels is None else split.labels[where]
    if labels is None or not source.preprocessing.changes_size or len(split.inputs) != 1:
        return labels
    if isinstance(labels, np.ndarray):
        return source.preprocessing.masks(labels) if labels.ndim == 3 else labels
    return _as_fed(labels, split.images[where], source.preprocessing)


def _as_fed(labels: Any, raw: NDArray[Any], preprocessing: Preprocessing) -> Any:
    """Boxes, keypoints and masks where the network sees them; other labels as they are."""
    if not preprocessing.changes_size:
        return labels
    if isinstance(labels, np.ndarray):
        return preprocessing.masks(labels) if labels.ndim == 3 else labels
    return [
        _moved(each, preprocessing.placement(image.shape[0], image.shape[1]))
        if isinstance(each, Boxes)
        else each
        for each, image in zip(labels, raw, strict=True)
    ]


def _moved(boxes: Boxes, placement: Placement) -> Boxes:
    points = boxes.keypoints
    if points is not None:
        points = points.copy()
        labelled = points[..., 2] > 0
        (down, across), (top, left) = placement.scale, placement.offset
        points[labelled, :2] = points[labelled, :2] * (across, down) + (left, top)
    return replace(boxes, corners=placement.corners(boxes.corners), keypoints=points)


def fed(split: Split, source: DataSource, size: int) -> Iterator[tuple[Batch, Any]]:
    """What :func:`batches` gives, of data with any number of inputs.

    Raises:
        UsageError: ``size`` is below 1.
    """
    if len(split.inputs) == 1:
        yield from batches(split, source, size)
        return
    for raw, part in zip(raw_batches(split, size), parts_of(len(split), size), strict=True):
        labels = None if split.labels is None else split.labels[part]
        yield source.preprocessing.apply(raw), labels


def samples_in(batch: Batch) -> int:
    """How many samples a batch has."""
    arrays = list(batch.values()) if isinstance(batch, Mapping) else [batch]
    return max((len(array) for array in arrays), default=0)


def whole(split: Split, source: DataSource) -> NDArray[Any]:
    """All samples of a split in memory, as training wants them.

    Images are eight-bit ones still, in the size and the channels of the network, so that they can
    be augmented; other samples are as the network is fed them. An array that is in memory, and that
    nothing resizes, is not copied.
    """
    images, preprocessing = split.images, source.preprocessing
    if isinstance(images, np.ndarray) and is_image(images) and not preprocessing.changes_size:
        return preprocessing.ordered(images)
    parts = []
    for part in parts_of(len(split), CHUNK):
        sized = preprocessing.sized(images[part])
        eight_bits = is_image(sized)
        parts.append(preprocessing.ordered(sized) if eight_bits else preprocessing.values(sized))
    return np.concatenate(parts)


def raw_batches(split: Split, size: int) -> Iterator[dict[str, NDArray[Any]]]:
    """Samples as they were read, by input name, in the split's order; the last may be smaller.

    Raises:
        UsageError: ``size`` is below 1.
    """
    return (
        {name: samples[part] for name, samples in split.inputs.items()}
        for part in parts_of(len(split), size)
    )


def parts_of(count: int, size: int) -> Iterator[slice]:
    """Where the batches of so many samples begin and end.

    Raises:
        UsageError: ``size`` is below 1.
    """
    if size < 1:
        raise UsageError(f"a batch of {size} samples cannot be", hint="ask for 1 or more")
    return (slice(i, min(i + size, count)) for i in range(0, count, size))


def whole_numbers(
    values: NDArray[np.float32], dtype: str, name: str, rows: int = 0
) -> NDArray[np.generic]:
    """Numbers of things, such as tokens or the levels of pixels, in the type of an input.

    Args:
        values: the numbers.
        dtype: numpy's name of the integer type.
        name: the input's, for messages.
        rows: how many rows the table has that they pick from; 0 where they pick none.

    Raises:
        ArtefactError: some are not whole, or beyond the type or the table.
    """
    limits = np.iinfo(dtype)
    inside = (values >= limits.min) & (values <= limits.max)
    if not (inside & (values == np.rint(values))).all():  # not a number is none either
        raise ArtefactError(
            f"the input {name!r} takes whole numbers of {dtype}, and the data give others",
            hint="feed it what the model was trained on, such as the numbers of tokens, or pixels "
            "as they are: --preprocess raw",
        )
    if rows and (beyond := values[(values < 0) | (values >= rows)]).size:
        raise ArtefactError(
            f"the input {name!r} picks rows of a table of {rows}, and the data hold the number "
            f"{int(beyond.flat[0])}",
            hint=f"give numbers from 0 to {rows - 1}, of the vocabulary that the model was "
            "trained with",
        )
    return values.astype(dtype)


def fit(batch: NDArray[np.float32], spec: TensorSpec) -> NDArray[np.float32]:
    """The batch in the layout that an artefact's input has.

    Args:
        batch: float32, (samples, *spec.shape), or images in NCHW where ``spec`` is (height, width,
            channels). A batch that fits ``spec`` as it is stays as it is, unless it fits in both
            ways: then it is NCHW, as all data of edgeq are.
        spec: the input.

    Raises:
        ArtefactError: no samples, or another shape.
    """
    batch = np.asarray(batch, np.float32)
    if batch.ndim == 0 or len(batch) == 0:
        raise ArtefactError("the batch holds no samples", hint="give at least one")
    sample = batch.shape[1:]
    in_both = spec.channels_last and len(sample) == 3 and len(set(sample)) == 1
    if sample == spec.shape and not in_both:
        return batch
    turned = arranged(batch, spec.shape)
    if turned is not None:
        return turned
    raise ArtefactError(
        f"the model wants samples of shape {spec.shape} at its input {spec.name!r}, the "
        f"data gives {sample}",
        hint=way_to(spec.shape, sample),
    )


def arranged(batch: NDArray[Any], want: tuple[int | None, ...]) -> NDArray[Any] | None:
    """Samples with the axes of a model's input, where these differ; None where they cannot.

    Channels go behind, and an axis of one, such as the channel of sound, is added.

    Args:
        batch: (n, *sample).
        want: the dimensions of a sample in the model; None for any.
    """
    have = batch.shape[1:]
    if len(have) == len(want) == 3 and _alike((*have[1:], have[0]), want):
        return batch.transpose(0, 2, 3, 1)
    if len(want) == len(have) + 1 and _alike((1, *have), want):
        return batch[:, None]
    if len(want) == len(have) + 1 and _alike((*have, 1), want):
        return batch[..., None]
    return None


def way_to(want: tuple[int | None, ...], have: tuple[int, ...]) -> str:
    """What brings samples of a shape to one that a model wants, in words.

    Args:
        want: the dimensions of a sample; None for any.
        have: those of the samples.
    """
    if len(want) == len(have) == 3:
        turned = have[2], *have[:2]
        if _alike(turned, want):
            return (
                "the samples have their channels last: save images as uint8, which edgeq turns, or "
                "other arrays turned by numpy's transpose(0, 3, 1, 2)"
            )
        if have[0] == want[0] and None not in want:
            return f"--resize {want[1]}x{want[2]} brings images to that size"
        if (want[0], have[0]) == (1, 3):
            return "--channels grey makes one channel of three"
        if (want[0], have[0]) == (3, 1):
            return "--channels grey-to-rgb makes three channels of one"
    if len(have) == 1 and len(want) == 3 and want[0] == 1:
        return (
            f"where the samples are sound, --audio log-mel:mels={want[2] or 40} makes frames and "
            "bands of it; rate, window, hop and length are set likewise, such as :hop=320"
        )
    if len(have) == 1 and len(want) in (1, 2) and want[-1] is not None:
        return f"where the samples are sound, --audio raw:length={want[-1]} brings them to it"
    return (
        "choose the data set that the model was made for, or arrange the axes as the model has them"
    )


def _alike(have: tuple[int, ...], want: tuple[int | None, ...]) -> bool:
    return all(size in (None, found) for size, found in zip(want, have, strict=True))
