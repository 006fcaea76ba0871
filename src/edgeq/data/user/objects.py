"""Data that code of the user's own made: arrays, ``torch`` data sets, Hugging Face ``datasets``.

They are known by what they can do; neither package is imported.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.brief import brief
from edgeq.data.preprocessing import Preprocessing
from edgeq.data.samples import places, ragged
from edgeq.data.source import DataSource, Split
from edgeq.data.statistics import measure
from edgeq.data.user.arrays import LABELS, numbered, of_arrays
from edgeq.data.user.assemble import PARTS, assemble
from edgeq.data.user.images import is_image, left_out, mode_of, pixels_of
from edgeq.errors import ArtefactError, SamplesReduced, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edgeq.data.samples import Samples

CONTRACT = (
    "return a DataSource, a path, or one or two (train, test) of: arrays (images, labels), a torch "
    "data set of (image, label), a Hugging Face data set"
)
_WORDS = {"train": "training"}
_LABELS = ("label", *(name for name in LABELS if name != "label"), "fine_label")
_PROBED = 8  # images that tell whether all are grey
_INPUTS = ("image", "img", "images", "pixel_values", "audio", "inputs", "input", "x")


def from_object(made: Any, name: str, load: Callable[[str], DataSource]) -> DataSource:
    """What a function returned, or a caller holds, as a data source.

    Args:
        made: a data source, a path, an array, arrays by name, a pair of arrays, a data set, or two
            (train, test) or several (by name) of these.
        name: what to call it.
        load: reads a data set by its name or path.

    Raises:
        UsageError: it is no data, or its samples do not belong together.
        ArtefactError: a file that it names is broken.
    """
    if isinstance(made, DataSource):
        return made
    if isinstance(made, str | Path):
        return load(str(made))
    found = [
        (part, *_split(each, f"the {_WORDS.get(part, part)} part of {name}"))
        for part, each in _parts(made, name)
    ]
    splits = {part: split for part, split, _ in found}
    shapes = {tuple(each.shape[1:] for each in split.inputs.values()) for split in splits.values()}
    if len(shapes) > 1:
        one, other = list(shapes)[:2]
        raise UsageError(
            f"{name} trains on samples of {one} and tests with {other}",
            hint="resize one of them",
        )
    classes = next((classes for _, _, classes in found if classes), ())
    labels = [split.labels for split in splits.values() if isinstance(split.labels, np.ndarray)]
    whole = [each for each in labels if each.dtype.kind == "i" and each.ndim == 1]
    if not classes and whole:
        classes = numbered(max(int(each.max(initial=0)) for each in whole), name)
    task = "mae" if any(each.dtype.kind == "f" for each in labels) else "top1"
    source = assemble(name, splits, classes, task=task)
    if len(source.train) and _of_eight_bits(source.train):
        return source.with_preprocessing(Preprocessing.normalized(*measure(source.train.images)))
    return source


def _of_eight_bits(split: Split) -> bool:
    samples = list(split.inputs.values())
    eight_bits = len(samples[0].shape) == 4 and samples[0].dtype == np.uint8
    return len(samples) == 1 and eight_bits and isinstance(samples[0], np.ndarray)


def _parts(made: Any, name: str) -> list[tuple[str, Any]]:
    if isinstance(made, Mapping) and made and all(str(key).lower() in PARTS for key in made):
        return [(PARTS[str(key).lower()], each) for key, each in made.items()]
    two = isinstance(made, tuple | list) and len(made) == 2
    if two and not all(map(_is_array, made)) and all(map(_is_data, made)):
        return [("train", made[0]), ("test", made[1])]
    if _is_data(made):
        return [("test", made)]
    loader = " (the .dataset of a DataLoader is one)" if hasattr(made, "dataset") else ""
    raise UsageError(
        f"{name} is a {type(made).__name__}, which is no data", hint=f"{CONTRACT}{loader}"
    )


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "__array__")


def _is_data(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and all(map(_is_array, value.values()))
    return _is_array(value) or (hasattr(value, "__len__") and hasattr(value, "__getitem__"))


def _split(part: Any, where: str) -> tuple[Split, tuple[str, ...]]:
    if hasattr(part, "column_names") and hasattr(part, "features"):
        return _of_columns(part, where)
    if _is_array(part):
        part = {"": part}
    elif isinstance(part, tuple | list) and len(part) == 2 and all(map(_is_array, part)):
        part = {"inputs": part[0], LABELS[0]: part[1]}
    if isinstance(part, Mapping):
        arrays = {str(key): np.asarray(each) for key, each in part.items()}
        return _of_arrays(arrays, where), ()
    split, classes = _of_items(part, where), getattr(part, "classes", None)
    if isinstance(classes, list | tuple) and isinstance(split.labels, np.ndarray):
        known = split.labels.dtype.kind == "i" and int(split.labels.max()) < len(classes)
        return split, tuple(map(str, classes)) if known else ()
    return split, ()


def _of_arrays(arrays: Mapping[str, Samples], where: str) -> Split:
    labels = next((arrays[name] for name in LABELS if name in arrays and len(arrays) > 1), None)
    if labels is not None and labels.dtype.kind not in "iuf":
        raise UsageError(
            f"the labels of {where} are {labels.dtype}, not integers",
            hint="number the classes from 0",
        )
    if not all(map(len, arrays.values())):
        raise UsageError(f"{where} is empty", hint=CONTRACT)
    try:
        return of_arrays(where, {"test": arrays}, where).test
    except ArtefactError as error:  # whose hint is for files
        raise UsageError(error.what, hint=CONTRACT) from error


def _of_items(part: Any, where: str) -> Split:
    """A ``torch`` data set; each item is looked at once, and kept by none."""
    if not len(part):
        raise UsageError(f"{where} is empty", hint=CONTRACT)
    columns, label = _columns_of(_item(part, 0, where), where)
    shapes: dict[str, set[object]] = {column: set() for column in columns}
    eight_bits, labels = dict.fromkeys(columns, True), []
    modes: dict[str, set[str]] = {column: set() for column in columns}
    for index in range(len(part)):
        item = _item(part, index, where)
        for column in columns:
            sample = _sample_of(item, column, where)
            if is_image(sample):
                modes[column].add(sample.mode)
            array = _array(sample, where)
            eight_bits[column] = eight_bits[column] and _is_eight_bits(array)
            size = array.shape[:2] if is_image(sample) else array.shape
            shapes[column].add((size, array.dtype, _is_tensor(sample)))
        if isinstance(item, Mapping):
            labels.append(item.get(label))
        else:
            labels.append(item[1] if _is_pair(item) else None)
    inputs = {}
    for column in columns:
        mode = mode_of(modes[column]) if modes[column] else ""
        samples = Items(part, where, (), _OBJECTS, eight_bits[column], column, mode=mode)
        first = samples[:1][0]
        if len(shapes[column]) == 1:
            samples = replace(samples, sample=first.shape, dtype=first.dtype)
        inputs[column if len(columns) > 1 else ""] = replace(samples, are_images=_is_picture(first))
    known = None if any(each is None for each in labels) else _labels(labels, where)
    return Split(inputs, known, np.arange(len(part)))


def _columns_of(item: Any, where: str) -> tuple[list[str], str]:
    """The names of the samples in an item and of its label: empty for a pair, or a sample alone.

    Raises:
        UsageError: it is neither, nor a mapping with numbers.
    """
    if isinstance(item, Mapping):
        label = next((name for name in _LABELS if name in item), "")
        numeric = [name for name, each in item.items() if name != label and _is_numeric(each)]
        columns = [name for name in _INPUTS if name in numeric][:1] or numeric
        if not columns:
            raise UsageError(f"{where} has items of {', '.join(map(str, item))}", hint=CONTRACT)
        return columns, label
    if isinstance(item, tuple) and len(item) > 2:
        raise UsageError(
            f"{where} has items of {len(item)} parts, and which of them is the label is not known",
            hint="return (sample, label), or by name {'image': sample, 'label': label}",
        )
    return [""], ""


def _is_numeric(value: Any) -> bool:
    numbers: Any = value
    return not isinstance(value, str) and np.asarray(numbers).dtype.kind in "biuf"


def _sample_of(item: Any, column: str, where: str) -> Any:
    if not column:
        return item[0] if _is_pair(item) else item
    try:
        return item[column]
    except (KeyError, TypeError, IndexError) as error:
        raise UsageError(
            f"{where} has {column!r} in some items only", hint="return the same names for all"
        ) from error


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple | list) and len(item) == 2


_OBJECTS = np.dtype(object)


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """The samples of a data set of a person's own, each asked for when it is needed.

    Attributes:
        part: has a length and items: samples, or pairs of a sample and a label.
        where: what to call it in messages.
        sample: the shape of one; empty where they differ.
        dtype: of their numbers; ``object`` where they differ in size.
        eight_bits: whether tensors of 0..1 are images of eight bits, as ``ToTensor`` makes.
        column: which part of an item is the sample, by its name; empty for a pair's first.
        are_images: whether each is a picture of eight bits.
        mode: whether Pillow's images are read in grey or in colour; empty for each as it is.
    """

    part: Any
    where: str
    sample: tuple[int, ...]
    dtype: np.dtype[Any]
    eight_bits: bool
    column: str = ""
    are_images: bool = False
    mode: str = ""

    __repr__ = brief

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, *sample)."""
        return (len(self.part), *self.sample)

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, where: slice | NDArray[np.int64]) -> NDArray[Any]:
        found = []
        for index in places(where, len(self.part)):
            item = _sample_of(_item(self.part, int(index), self.where), self.column, self.where)
            sample = _sample(item, self.where, eight_bits=self.eight_bits, mode=self.mode)
            if self.dtype != object and (sample.shape, sample.dtype) != (self.sample, self.dtype):
                raise UsageError(
                    f"sample {index} of {self.where} is {sample.dtype} of {sample.shape}, and was "
                    f"{self.dtype} of {self.sample} before",
                    hint="leave out what changes samples by chance",
                )
            found.append(sample)
        if self.dtype == object:
            return ragged(found)
        return np.stack(found) if found else np.empty((0, *self.sample), self.dtype)


def _of_columns(part: Any, where: str) -> tuple[Split, tuple[str, ...]]:
    """A Hugging Face data set: a column of samples, one of labels, and what else is known."""
    names: Sequence[str] = part.column_names
    label = next((name for name in _LABELS if name in names), None)
    head = _item(part, 0, where) if len(part) else {}
    left = [
        name for name in head if name != label and not isinstance(head[name], int | float | str)
    ]
    only = left if len(left) == 1 else []
    column = next((name for name in (*_INPUTS, *only) if name in head), None)
    if column is None:
        raise UsageError(
            f"{where} has the columns {', '.join(names)} and {len(part)} samples",
            hint=f"call the column of samples {_INPUTS[0]}, with rename_column for example",
        )
    first = head[column]
    places = np.linspace(0, len(part) - 1, _PROBED if is_image(first) else 0).astype(int)
    probed = [_item(part, int(place), where)[column] for place in places]
    mode = mode_of(each.mode for each in probed if is_image(each)) if probed else ""
    eight_bits = _is_eight_bits(_array(first, where))
    inputs = Items(part, where, (), _OBJECTS, eight_bits, column, mode=mode)
    ends = inputs[np.array([0, len(part) - 1])]
    # photographs and recordings may differ anywhere; numbers in columns do not
    files = hasattr(first, "convert") or isinstance(first, Mapping)
    if not files and ends[0].shape == ends[1].shape:
        inputs = replace(inputs, sample=ends[0].shape, dtype=ends[0].dtype)
    labels, classes = None, ()
    if label is not None:
        labels = _labels(part[label], where)
        classes = tuple(getattr(part.features[label], "names", None) or ())
    columns = {}
    for name in names:
        if name not in (column, label):
            values = np.asarray(part[name])
            if values.ndim == 1 and values.dtype.kind in "iufU":
                columns[name] = values
    inputs = replace(inputs, are_images=_is_picture(ends[0]))
    return Split({"": inputs}, labels, np.arange(len(part)), columns=columns), classes


def _item(part: Any, index: int, where: str) -> Any:
    try:
        return part[index]
    except Exception as error:  # whatever a user's data set raises
        raise UsageError(
            f"{where} has {len(part)} samples, and fails at {index} with {error!r}",
            hint="fix it",
        ) from error


def _labels(labels: Sequence[Any], where: str) -> NDArray[Any]:
    """Classes as int64, (n,); values to be predicted as float32, (n,) or (n, values)."""
    try:
        numbers = np.array([operator.index(each) for each in labels], np.int64)
    except TypeError:
        return _values(labels, where)
    if numbers.min() < 0:
        raise UsageError(f"{where} has the label {numbers.min()}", hint="number classes from 0")
    return numbers


def _values(labels: Sequence[Any], where: str) -> NDArray[np.float32]:
    try:
        values = np.array([np.asarray(each, np.float32) for each in labels], np.float32)
    except (TypeError, ValueError) as error:
        odd = next((each for each in labels if not _is_numeric(each)), labels[0])
        raise UsageError(
            f"{where} has the label {odd!r}, no number",
            hint="number the classes from 0, or give each sample as many values",
        ) from error
    if not np.isfinite(values).all() or values.ndim > 2:
        raise UsageError(
            f"{where} has labels of the shape {values.shape[1:]}, or NaN among them",
            hint="give each sample a class, or finite values",
        )
    return values


def _array(value: Any, where: str) -> NDArray[Any]:
    """The numbers of a sample, in the order that it has them in."""
    if isinstance(value, Mapping) and "array" in value:  # sound, as Hugging Face holds it
        value = value["array"]
    numbers: Any = value
    array = np.asarray(numbers.detach().cpu() if _is_tensor(value) else value)
    if array.dtype.kind not in "biuf":
        raise UsageError(
            f"{where} has a sample that is a {type(value).__name__}, no numbers", hint=CONTRACT
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UsageError(
            f"{where} has a sample with NaN or infinity", hint="look for it in the data"
        )
    return array


def _sample(value: Any, where: str, *, eight_bits: bool, mode: str = "") -> NDArray[Any]:
    """An image as (height, width, channels) of uint8, sound as (samples,), others as they are."""
    if mode and is_image(value):
        for what, hint in left_out(value, mode):
            warnings.warn(SamplesReduced(f"{where} holds {what}", hint=hint), stacklevel=2)
        return pixels_of(value, mode)
    array = _array(value, where)
    if array.dtype.kind == "f" and eight_bits and _is_tensor(value) and array.ndim == 3:
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        return array
    if array.ndim == 2:
        return array[..., np.newaxis]
    return array.transpose(1, 2, 0) if _is_tensor(value) else array


def _is_picture(sample: NDArray[Any]) -> bool:
    return sample.dtype == np.uint8 and sample.ndim == 3


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach")


def _is_eight_bits(array: NDArray[Any]) -> bool:
    """Whether an array holds eight-bit levels, as integers or scaled to 0..1."""
    if array.dtype.kind != "f":
        return array.dtype == np.uint8
    levels = array * 255
    near = np.abs(levels - np.rint(levels)) <= 1e-2
    return bool((near & (levels >= 0) & (levels <= 255.01)).all())
