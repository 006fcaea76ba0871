"""Data from arrays: one file of samples, several inputs by name, labels beside them or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.data.readers.npy import read_arrays, read_npy
from edgeq.data.samples import with_channels_behind
from edgeq.data.source import Split
from edgeq.data.user.assemble import PARTS, assemble
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeq.data.samples import Samples
    from edgeq.data.source import DataSource

LABELS = ("labels", "label", "y", "targets", "target")
_NAMES_OF_CLASSES = "classes"
_MOST_CLASSES = 1_000_000
_LAYOUT = """lay it out so; without train and test, or without labels.npy, it is read too:
    data/train/inputs.npy
    data/train/labels.npy
    data/test/inputs.npy
    data/test/labels.npy"""


def load_array_file(path: Path) -> DataSource:
    """One ``.npy`` or ``.npz`` file, all of it to test with.

    Raises:
        ArtefactError: it is broken, or its arrays do not belong together.
    """
    arrays = {"": read_npy(path)} if path.suffix == ".npy" else read_arrays(path)
    return of_arrays(path.stem, {"test": arrays}, path)


def array_parts(folder: Path) -> dict[str, dict[str, Samples]]:
    """The arrays of a folder by part of the data, then by name; empty where it holds none.

    A part is a folder of ``.npy`` files, one ``.npz`` file, or the whole folder.
    """
    found: dict[str, dict[str, Samples]] = {}
    for child in sorted(folder.iterdir()):
        part = PARTS.get(child.stem.lower())
        if part is not None and child.suffix == ".npz":
            found[part] = read_arrays(child)
        elif part is not None and child.is_dir() and any(child.glob("*.npy")):
            found[part] = _npy_files(child)
    if not found and any(folder.glob("*.npy")):
        found["test"] = _npy_files(folder)
    return found


def of_arrays(name: str, parts: Mapping[str, Mapping[str, Samples]], where: object) -> DataSource:
    """A data source of arrays by part and by name.

    Args:
        name: what the user called it.
        parts: train, validation and test, each with its arrays.
        where: what they come from, for messages.

    Raises:
        ArtefactError: arrays of a part differ in length, or the parts in their inputs.
    """
    splits = {part: _split(arrays, where) for part, arrays in parts.items()}
    inputs = {tuple(split.inputs) for split in splits.values()}
    if len(inputs) != 1:
        raise _wrong(where, "has other inputs in one part than in another")
    tasks = {_task(split.labels) for split in splits.values() if split.labels is not None}
    named = [arrays[_NAMES_OF_CLASSES] for arrays in parts.values() if _NAMES_OF_CLASSES in arrays]
    names = named[0] if named else None
    task = tasks.pop() if len(tasks) == 1 else "top1"
    classes: tuple[str, ...] = ()
    if task in ("top1", "mIoU") and any(split.labels is not None for split in splits.values()):
        count = max(_largest(split.labels) for split in splits.values() if split.labels is not None)
        classes = numbered(count, where) if names is None else ()
    if names is not None:
        classes = tuple(str(each) for each in names[:])
    return assemble(name, splits, classes, task=task)


def numbered(greatest: int, where: object) -> tuple[str, ...]:
    """The names of classes that have none, for labels of which one is the greatest.

    Raises:
        ArtefactError: it is so great that it can be the number of no class.
    """
    if greatest >= _MOST_CLASSES:
        raise _wrong(where, f"has the label {greatest}, where the number of a class is asked for")
    return tuple(map(str, range(greatest + 1)))


def _npy_files(folder: Path) -> dict[str, Samples]:
    return {path.stem: read_npy(path) for path in sorted(folder.glob("*.npy"))}


def _split(arrays: Mapping[str, Samples], where: object) -> Split:
    label = next((name for name in LABELS if name in arrays and len(arrays) > 1), None)
    inputs = {
        name: with_channels_behind(samples)
        for name, samples in arrays.items()
        if name not in (label, _NAMES_OF_CLASSES)
    }
    if not inputs:
        raise _wrong(where, "holds no arrays of samples")
    texts = [name for name, samples in inputs.items() if samples.dtype.kind not in "biuf"]
    if texts:
        raise _wrong(where, f"holds no numbers in {texts[0]}")
    lengths = {name: len(arrays[name]) for name in (*inputs, *([label] if label else []))}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name or 'the samples'} {length}" for name, length in lengths.items())
        raise _wrong(where, f"holds arrays of other lengths: {told}")
    if len(inputs) == 1:
        inputs = {"": next(iter(inputs.values()))}
    labels = None if label is None else _labels(arrays[label], where)
    return Split(inputs, labels, np.arange(next(iter(lengths.values()))))


def _labels(labels: Samples, where: object) -> Samples:
    """Classes and values as arrays in memory, masks as they are."""
    if len(labels.shape) > 2:
        return labels
    whole = labels[:]
    if whole.dtype.kind == "f":
        return whole.astype(np.float32)
    if whole.ndim == 2 and whole.shape[1] == 1:
        whole = whole[:, 0]
    if whole.ndim != 1:
        raise ArtefactError(
            f"{where} has labels of {whole.dtype} and the shape {whole.shape}",
            hint="give one class a sample: labels.argmax(axis=1) of one-hot labels",
        )
    if whole.dtype.kind not in "biu":
        raise ArtefactError(
            f"{where} has labels of {whole.dtype}",
            hint="number the classes from 0, and give their names as an array `classes`",
        )
    if int(whole.min(initial=0)) < 0:
        first = int(np.argmax(whole < 0))
        raise ArtefactError(
            f"{where} has the label {int(whole[first])} at sample {first}",
            hint="number the classes from 0, and leave out samples without one",
        )
    return whole.astype(np.int64)


def _task(labels: Any) -> str:
    if labels.dtype.kind == "f":
        return "mae"
    return "mIoU" if len(labels.shape) > 2 else "top1"


def _largest(labels: Any) -> int:
    if len(labels.shape) == 1:
        return int(labels[:].max(initial=0))
    return max(int(labels[i : i + 1].max(initial=0)) for i in range(len(labels)))


def _wrong(where: object, what: str) -> ArtefactError:
    return ArtefactError(f"{where} {what}", hint=_LAYOUT)
