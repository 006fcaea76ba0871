"""Data that code of the user's own made: arrays, ``torch`` data sets, Hugging Face ``datasets``.

They are known by what they can do; neither package is imported.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.brief import brief
from edgeq.data.preprocessing import Preprocessing
from edgeq.data.samples import ragged
from edgeq.data.source import DataSource, Split
from edgeq.data.statistics import measure
from edgeq.data.user.arrays import LABELS, of_arrays
from edgeq.data.user.assemble import PARTS, assemble
from edgeq.errors import ArtefactError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edgeq.data.samples import Samples

CONTRACT = (
    "return a DataSource, a path, or one or two (train, test) of: arrays (images, labels), a torch "
    "data set of (image, label), a Hugging Face data set"
)
_WORDS = {"train": "training"}
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
        classes = tuple(map(str, range(max(int(each.max(initial=0)) for each in whole) + 1)))
    task = "mae" if any(each.dtype.kind == "f" for each in labels) else "top1"
    source = assemble(name, splits, classes, task=task)
    if len(source.train) and _of_eight_bits(source.train):
        return source.with_preprocessing(Preprocessing.normalized(*measure(source.train.images)))
    return source


def _of_eight_bits(split: Split) -> bool:
    samples = list(split.inputs.values())
    return len(samples) == 1 and len(samples[0].shape) == 4 and samples[0].dtype == np.uint8


def _parts(made: Any, name: str) -> list[tuple[str, Any]]:
    if isinstance(made, Mapping) and made and all(str(key).lower() in PARTS for key in made):
        return [(PARTS[str(key).lower()], each) for key, each in made.items()]
    two = isinstance(made, tuple | list) and len(made) == 2
    if two and not all(map(_is_array, made)) and all(map(_is_data, made)):
        return [("train", made[0]), ("test", made[1])]
    if _is_data(made):
        return [("test", made)]
    raise UsageError(f"{name} is a {type(made).__name__}, which is no data", hint=CONTRACT)


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
    return _of_items(part, where), ()


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
    shapes, labels, eight_bits = set(), [], True
    for index in range(len(part)):
        item = _item(part, index, where)
        pair = isinstance(item, tuple | list) and len(item) == 2
        sample = _array(item[0] if pair else item, where)
        eight_bits = eight_bits and _is_eight_bits(sample)
        shapes.add((sample.shape, sample.dtype, _is_tensor(item[0] if pair else item)))
        labels.append(_number(item[1], where) if pair else None)
    if not labels:
        raise UsageError(f"{where} is empty", hint=CONTRACT)
    samples = Items(part, where, (), _OBJECTS, eight_bits)
    if len(shapes) == 1:
        first = samples[:1][0]
        samples = replace(samples, sample=first.shape, dtype=first.dtype)
    if None in labels:
        return Split({"": samples}, None, np.arange(len(labels)))
    numbers = np.array(labels, np.int64)
    if numbers.min() < 0:
        raise UsageError(f"{where} has the label {numbers.min()}", hint="number classes from 0")
    return Split({"": samples}, numbers, np.arange(len(labels)))


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
    """

    part: Any
    where: str
    sample: tuple[int, ...]
    dtype: np.dtype[Any]
    eight_bits: bool
    column: str = ""

    __repr__ = brief

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, *sample)."""
        return (len(self.part), *self.sample)

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, where: slice | NDArray[np.int64]) -> NDArray[Any]:
        found = []
        for index in np.arange(len(self.part))[where]:
            item = _item(self.part, int(index), self.where)
            if self.column:
                item = item[self.column]
            elif isinstance(item, tuple | list) and len(item) == 2:
                item = item[0]
            sample = _sample(item, self.where, eight_bits=self.eight_bits)
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
    column = next((name for name in _INPUTS if name in names), None)
    label = next((name for name in ("label", *LABELS, "fine_label") if name in names), None)
    if column is None or not len(part):
        raise UsageError(
            f"{where} has the columns {', '.join(names)} and {len(part)} samples",
            hint=f"call the column of samples {_INPUTS[0]}, with rename_column for example",
        )
    first = _item(part, 0, where)[column]
    inputs = Items(part, where, (), _OBJECTS, _is_eight_bits(_array(first, where)), column)
    ends = inputs[np.array([0, len(part) - 1])]
    # photographs and recordings may differ anywhere; numbers in columns do not
    files = hasattr(first, "convert") or isinstance(first, Mapping)
    if not files and ends[0].shape == ends[1].shape:
        inputs = replace(inputs, sample=ends[0].shape, dtype=ends[0].dtype)
    labels, classes = None, ()
    if label is not None:
        labels = np.array([_number(each, where) for each in part[label]], np.int64)
        classes = tuple(getattr(part.features[label], "names", None) or ())
    columns = {}
    for name in names:
        if name not in (column, label):
            values = np.asarray(part[name])
            if values.ndim == 1 and values.dtype.kind in "iufU":
                columns[name] = values
    return Split({"": inputs}, labels, np.arange(len(part)), columns=columns), classes


def _item(part: Any, index: int, where: str) -> Any:
    try:
        return part[index]
    except Exception as error:  # whatever a user's data set raises
        raise UsageError(
            f"{where} has {len(part)} samples, and fails at {index} with {error!r}",
            hint="fix it",
        ) from error


def _number(label: Any, where: str) -> int:
    try:
        return operator.index(label)
    except TypeError as error:
        raise UsageError(
            f"{where} has the label {label!r}, no integer", hint="number the classes from 0"
        ) from error


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


def _sample(value: Any, where: str, *, eight_bits: bool) -> NDArray[Any]:
    """An image as (height, width, channels) of uint8, sound as (samples,), others as they are."""
    array = _array(value, where)
    if array.dtype.kind == "f" and eight_bits and _is_tensor(value) and array.ndim == 3:
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        return array
    if array.ndim == 2:
        return array[..., np.newaxis]
    return array.transpose(1, 2, 0) if _is_tensor(value) else array


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach")


def _is_eight_bits(array: NDArray[Any]) -> bool:
    """Whether an array holds eight-bit levels, as integers or scaled to 0..1."""
    if array.dtype.kind != "f":
        return array.dtype == np.uint8
    levels = array * 255
    near = np.abs(levels - np.rint(levels)) <= 1e-2
    return bool((near & (levels >= 0) & (levels <= 255.01)).all())
