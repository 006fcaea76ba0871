"""Data of a user's own that a command names as ``package.module:function``.

The function takes nothing and returns either a :class:`edgeq.data.DataSource`, or the samples to
train on and those to test with. Each of the two is a pair of arrays, images (uint8; n, height,
width, channels) and labels (integers; n), or a ``torch`` data set of (image, label), where an image
is a PIL image, an array of uint8 (height, width, channels), or a tensor (channels, height, width)
of uint8 or of eight-bit values scaled to 0..1, as ``ToTensor`` makes. A tenth of the training
samples validates.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.data.preprocessing import Preprocessing
from edgeq.data.source import DataSource, Split, make_split
from edgeq.data.splitting import hold_out_tenth
from edgeq.data.statistics import measure
from edgeq.errors import ArtefactError, UsageError
from edgeq.factories import call

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CONTRACT = (
    "return a DataSource, or (train, test): each a pair of arrays (images, labels) or a torch "
    "data set of (image, label)"
)


def load_user(reference: str) -> DataSource:
    """The data that a function of the user's returns; see this module.

    Raises:
        UsageError: the function was not named, fails, or returns something else; or the arrays are
            of the wrong type or shape.
    """
    made = call(reference, flag="--data")
    if isinstance(made, DataSource):
        return made
    if not isinstance(made, tuple | list) or len(made) != 2:
        raise UsageError(
            f"{reference}() returns a {type(made).__name__}, which is no data", hint=_CONTRACT
        )
    (train_images, train_labels), (test_images, test_labels) = (
        _arrays(part, reference) for part in made
    )
    if train_images.shape[1:] != test_images.shape[1:]:
        raise UsageError(
            f"{reference}() trains on images of {train_images.shape[1:]} and tests with "
            f"{test_images.shape[1:]}",
            hint="resize one of them",
        )
    for part, labels in (("training", train_labels), ("test", test_labels)):
        if labels.dtype.kind not in "iu":
            raise UsageError(
                f"the labels of the {part} part of {reference} are {labels.dtype}, not integers",
                hint="number the classes from 0",
            )
    classes = int(max(train_labels.max(initial=0), test_labels.max(initial=0))) + 1
    train, validation = hold_out_tenth(
        _split(train_images, train_labels, classes, f"the training part of {reference}")
    )
    test = _split(test_images, test_labels, classes, f"the test part of {reference}")
    names = tuple(str(number) for number in range(classes))
    preprocessing = Preprocessing.normalized(*measure(train.images[:]))
    return DataSource(reference, names, train, validation, test, preprocessing)


def _split(images: NDArray[Any], labels: NDArray[Any], classes: int, where: str) -> Split:
    if not len(images):
        raise UsageError(f"{where} is empty", hint=_CONTRACT)
    try:
        return make_split(images, labels, classes, where)
    except ArtefactError as error:  # whose hint is for files
        raise UsageError(error.what, hint=_CONTRACT) from error


def _arrays(part: Any, reference: str) -> tuple[NDArray[Any], NDArray[Any]]:
    if (
        isinstance(part, tuple | list)
        and len(part) == 2
        and all(hasattr(each, "shape") for each in part)
    ):
        return np.asarray(part[0]), np.asarray(part[1])
    if not hasattr(part, "__len__") or not hasattr(part, "__getitem__"):
        raise UsageError(
            f"{reference}() returns a {type(part).__name__} for one part of the data",
            hint=_CONTRACT,
        )
    samples = [_sample(part, index, reference) for index in range(len(part))]
    if not samples or not all(
        isinstance(sample, tuple | list) and len(sample) == 2 for sample in samples
    ):
        raise UsageError(
            f"a data set of {reference} is empty, or its items are no (image, label)",
            hint=_CONTRACT,
        )
    images = [_image(image, reference) for image, _ in samples]
    if len({image.shape for image in images}) > 1:
        raise UsageError(
            f"the images of {reference} differ in size", hint="resize or crop them to one size"
        )
    return np.stack(images), np.array([_number(label, reference) for _, label in samples])


def _sample(part: Any, index: int, reference: str) -> Any:
    try:
        return part[index]
    except Exception as error:  # whatever a user's data set raises
        raise UsageError(
            f"a data set of {reference} has {len(part)} samples, and fails at {index} with "
            f"{error!r}",
            hint="fix it",
        ) from error


def _number(label: Any, reference: str) -> int:
    try:
        return operator.index(label)
    except TypeError as error:
        raise UsageError(
            f"a data set of {reference} has the label {label!r}, no integer",
            hint="number the classes from 0",
        ) from error


def _image(image: Any, reference: str) -> NDArray[np.uint8]:
    """As (height, width, channels) of uint8."""
    import torch

    if not isinstance(image, torch.Tensor):
        array = np.asarray(image)
        return array if array.ndim == 3 else array[..., np.newaxis]
    if image.dtype.is_floating_point:
        levels = image * 255
        # nor NaN
        if not bool(
            ((levels - levels.round()).abs() <= 1e-2).all()
            and (levels >= 0).all()
            and (levels <= 255).all()
        ):
            raise UsageError(
                f"the images of {reference} are no eight-bit ones scaled to 0..1",
                hint="leave normalisation and augmentation to edgeq",
            )
        image = levels.round().to(torch.uint8)
    pixels: NDArray[np.uint8] = image.numpy()
    return pixels.transpose(1, 2, 0) if pixels.ndim == 3 else pixels[..., np.newaxis]
