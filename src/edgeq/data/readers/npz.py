"""Data sets in the plainest form there is: a folder with ``train.npz`` and ``test.npz``.

Each file holds ``labels`` and either ``images`` or, a tenth of the size, ``jpeg`` with ``offsets``.
Optional are class names (``classes``, or ``words`` as ImageNet calls them) and ``official_index``,
the sample's place in a published set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeq.data.dataset import Dataset
from edgeq.data.preprocessing import Preprocessing
from edgeq.data.readers.jpeg import decode
from edgeq.data.readers.npy import read_arrays
from edgeq.data.source import Augmentation, DataSource, Split, make_split
from edgeq.data.splitting import hold_out_tenth
from edgeq.data.statistics import CIFAR10, TINY_IMAGENET100, Normalization, measure
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.data.samples import Samples

FILES = ("train.npz", "test.npz")


def load_folder(folder: Path) -> DataSource:
    """A data set of the user's own, from ``train.npz`` and ``test.npz`` in a folder.

    A random tenth of the training samples validates, and the normalisation is measured on the other
    nine tenths. Nothing is augmented: whether a flipped image keeps its label is not for edgeq to
    know.

    Raises:
        ArtefactError: a file is missing or broken, or the two differ in the size of their images.
    """
    return _assemble(folder.name, tuple(folder / file for file in FILES), None, "none")


def _assemble(
    name: str,
    paths: tuple[Path, ...],
    normalization: Normalization | None,
    augmentation: Augmentation,
) -> DataSource:
    train_path, test_path = paths
    content = read_arrays(train_path)
    classes = _class_names(content, train_path)
    published = _split(content, len(classes), train_path)
    test = _split(read_arrays(test_path), len(classes), test_path)
    if published.images.shape[1:] != test.images.shape[1:]:
        raise ArtefactError(
            f"{train_path} and {test_path} hold images of {published.images.shape[1:]} and "
            f"{test.images.shape[1:]}",
            hint="resize one of them",
        )
    train, validation = hold_out_tenth(published)
    preprocessing = Preprocessing.normalized(*(normalization or measure(train.images)))
    return DataSource(name, classes, train, validation, test, preprocessing, augmentation)


def _split(content: Mapping[str, Samples], classes: int, path: Path) -> Split:
    labels, index = _array(content, "labels", path), content.get("official_index")
    if "images" in content:
        images = content["images"]
    elif "jpeg" in content:
        images = decode(content["jpeg"][:], _array(content, "offsets", path), path)
    else:
        raise _missing("images", content, path)
    return make_split(images, labels, classes, path, None if index is None else index[:])


def _class_names(content: Mapping[str, Samples], path: Path) -> tuple[str, ...]:
    told = content.get("classes", content.get("words"))
    names = None if told is None else told[:]
    if names is None:
        labels = _array(content, "labels", path)
        if labels.dtype.kind not in "iu" or labels.size == 0:
            raise ArtefactError(
                f"{path} has {labels.size} labels of {labels.dtype}, not integers",
                hint="write it again",
            )
        return tuple(str(i) for i in range(int(labels.max()) + 1))
    if names.ndim != 1 or names.dtype.kind != "U":
        raise ArtefactError(
            f"{path} names its classes as {names.dtype} of the shape {names.shape}",
            hint="write one list of text",
        )
    full: list[str] = names.tolist()
    short = [name.split(",")[0] for name in full]  # "goldfish, Carassius auratus"
    return tuple(short if len(set(short)) == len(short) else full)


def _array(content: Mapping[str, Samples], name: str, path: Path) -> NDArray[Any]:
    if name not in content:
        raise _missing(name, content, path)
    return content[name][:]


def _missing(name: str, content: Mapping[str, Samples], path: Path) -> ArtefactError:
    return ArtefactError(
        f"{path} has no {name!r}; it holds {', '.join(content) or 'nothing'}",
        hint="write labels and either images (uint8, n x height x width x channels) or jpeg "
        "with offsets",
    )


def _dataset(name: str, summary: str, classes: int, normalization: Normalization) -> Dataset:
    return Dataset(
        name,
        summary,
        classes,
        (3, 32, 32),
        read=lambda paths: _assemble(name, paths, normalization, "crop-flip"),
        layouts=(tuple(f"{name}/{file}" for file in FILES),),
        origin=f"put {name}/train.npz and {name}/test.npz",
    )


load_cifar10_jpeg = _dataset(
    "cifar10-jpeg", "CIFAR-10 as JPEG files, lossy: 50,000 to train, 10,000 to test", 10, CIFAR10
)
load_cifar10_lossless = _dataset(
    "cifar10-lossless", "a part of CIFAR-10 without loss: 4,000 to train, 500 to test", 10, CIFAR10
)
load_tiny_imagenet100 = _dataset(
    "tiny-imagenet100-32",
    "100 classes of Tiny ImageNet at 32x32, as JPEG files",
    100,
    TINY_IMAGENET100,
)
