"""Whether samples can be used at all, told before long work: broken files, sizes, NaN."""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgeq.data.batching import CHUNK, parts_of
from edgeq.data.preprocessing import TO_ONE_SIZE
from edgeq.data.samples import Files, Subset
from edgeq.errors import ArtefactError, SamplesReduced, UsageError
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.data.preprocessing import Preprocessing
    from edgeq.data.samples import LeftOut, Samples
    from edgeq.data.source import DataSource, Split

NAMED = 8  # samples that a message names


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the samples of one input found.

    Attributes:
        count: how many were looked at.
        broken: the names or numbers of those that cannot be used.
        error: about the first of them; None where all can be used.
        sizes: how many have each size, and which is the first, where they may differ.
        left_out: of how many files something is not read, and which is the first.
        folder: of the files; empty where they are none.
    """

    count: int
    broken: tuple[str, ...] = ()
    error: ArtefactError | None = None
    sizes: Mapping[tuple[int, ...], tuple[int, str]] = field(default_factory=dict)
    left_out: Mapping[LeftOut, tuple[int, str]] = field(default_factory=dict)
    folder: str = ""


def check(part: Split, preprocessing: Preprocessing) -> None:
    """Refuse samples that would end the work on them later, and tell what is not read of files.

    Args:
        part: the samples that are to be used.
        preprocessing: how they are fed.

    Raises:
        ArtefactError: files are broken, or numbers are NaN or infinite; names the first of them.
        UsageError: the samples differ in size, and nothing brings them to one; or they are empty.

    Warns:
        SamplesReduced: files hold more than is read of them.
    """
    for name, samples in part.inputs.items():
        if 0 in samples.shape[1:]:
            raise UsageError(
                f"the samples{f' of {name!r}' if name else ''} are empty: each is "
                f"{_told(samples.shape[1:])}",
                hint="save them again, with something along every axis",
            )
    for look in looks_at(part).values():
        if look.error is not None:
            raise look.error
        for what, hint in look.left_out:
            warnings.warn(
                SamplesReduced(f"files in {look.folder} hold {what}", hint=hint), stacklevel=2
            )
        fed: dict[tuple[int, ...], str] = {}
        for size, (_, first) in look.sizes.items():
            fed.setdefault(_as_fed(size, preprocessing), f"{first} is {_told(size)}")
        if len(fed) > 1:
            one, other = list(fed.values())[:2]
            raise UsageError(f"the samples differ in size: {one}, {other}", hint=TO_ONE_SIZE)


def looks_at(part: Split) -> dict[str, Look]:
    """What is found of each input: of a file by its head and its end, of numbers by all of them."""
    found = {}
    for name, samples in part.inputs.items():
        files, places = _behind(samples)
        if isinstance(files, Files):
            found[name] = _files(files, places)
        elif samples.dtype.kind == "f":
            path = getattr(files, "path", None)
            told = f"the input {name!r}" if name else "the samples"
            found[name] = _numbers(samples, told if path is None else f"{told} of {path}", part)
        else:
            found[name] = Look(len(samples))
    return found


def readable(part: Split, where: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of some samples that can be used, each of which is read: int64."""
    kept = []
    for place in where.tolist():
        with suppress(ArtefactError):
            read = [samples[place : place + 1] for samples in part.inputs.values()]
            if all(each.dtype.kind != "f" or np.isfinite(each).all() for each in read):
                kept.append(place)
    return np.array(kept, np.int64)


def left_out(part: Split, where: NDArray[np.int64], kept: NDArray[np.int64]) -> str:
    """Which of some samples are not among those kept, in words; empty for none."""
    lost = np.setdiff1d(where, kept)
    if not lost.size:
        return ""
    named = listed([str((part.names or part.ids)[place]) for place in lost.tolist()])
    return f"{counted(lost.size, 'sample', 'are', of=len(where))} left out: {named}"


def listed(names: Sequence[str], most: int = NAMED) -> str:
    """The first of some names, and that there are more."""
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")


def _behind(samples: Samples) -> tuple[Samples, NDArray[np.int64]]:
    """The samples that some were chosen from, and the places of those."""
    if isinstance(samples, Subset):
        return samples.samples, samples.where
    return samples, np.arange(len(samples))


def _files(files: Files, places: NDArray[np.int64]) -> Look:
    broken: list[str] = []
    first, sizes = None, dict[tuple[int, ...], tuple[int, str]]()
    left_out: dict[LeftOut, tuple[int, str]] = {}
    for place in map(int, places):
        path = files.path(place)
        try:
            seen = files.look(place)
        except ArtefactError as error:
            first = first or error
            broken.append(str(files.paths[place]))
            continue
        size = seen.size[:2]
        count, where = sizes.get(size, (0, path))
        sizes[size] = count + 1, where
        for each in seen.left_out:
            count, where = left_out.get(each, (0, str(files.paths[place])))
            left_out[each] = count + 1, where
    if first is not None and len(broken) > 1:
        first = ArtefactError(
            f"{len(broken)} of {len(places)} files in {files.folder} cannot be read: "
            f"{listed(broken)}; the first: {first.what}",
            hint=first.hint,
        )
    return Look(len(places), tuple(broken), first, sizes, left_out, str(files.folder))


def _as_fed(size: tuple[int, ...], preprocessing: Preprocessing) -> tuple[int, ...]:
    if len(size) == 1:
        return size if preprocessing.audio is None else ()
    return preprocessing.size_of(size[0], size[1])


def _told(size: tuple[int, ...]) -> str:
    told = "x".join(map(str, size))
    return told if len(size) > 1 else f"{told} samples long"


def sizes_told(look: Look) -> str:
    """The sizes of samples, the most frequent first, in words; empty where they cannot differ."""
    many = sorted(look.sizes.items(), key=lambda each: -each[1][0])
    named = [
        _told(size) if len(many) == 1 else f"{count:,} of {_told(size)}"
        for size, (count, _) in many
    ]
    return listed(named, 3)


def left_out_told(part: str, look: Look) -> Iterator[str]:
    """What is not read of the files of a part, a sentence each."""
    for each, (count, first) in look.left_out.items():
        yield (
            f"in {part} {counted(count, 'file', 'hold', of=look.count)} {each.what}; first {first}"
        )


def _numbers(samples: Samples, what: str, part: Split) -> Look:
    odd: list[str] = []
    for where in parts_of(len(samples), CHUNK):
        values = samples[where]
        wrong = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
        odd += [str(number) for number in part.ids[where][wrong].tolist()]
    if not odd:
        return Look(len(samples))
    error = ArtefactError(
        f"{len(odd)} of {len(samples)} of {what} hold NaN or infinity, number {odd[0]} first, "
        "counted from 0",
        hint="look for its cause in the data, or leave these samples out, as edgeq calibrate does "
        "with --skip-broken",
    )
    return Look(len(samples), tuple(odd), error)


def doubts(source: DataSource) -> Iterator[str]:
    """What is odd about labels, a sentence each."""
    parts = {name: getattr(source, name) for name in ("train", "validation", "test")}
    parts = {name: part for name, part in parts.items() if len(part)}
    labels = {
        name: part.labels for name, part in parts.items() if isinstance(part.labels, np.ndarray)
    }
    whole = {name: each for name, each in labels.items() if each.dtype.kind in "iu"}
    if not labels and source.test.labels is None:
        named = [f"{name} ({len(set(each))} values)" for name, each in source.test.columns.items()]
        if named:
            yield f"no column is called label, class or target; there are {', '.join(named)}"
    if source.task == "mae" and all((each == np.rint(each)).all() for each in labels.values()):
        yield "the labels are whole numbers stored as float ones: save classes as integers"
    if not whole or source.task != "top1":
        return
    if len(source.classes) == 1:
        yield f"there is one class, {source.classes[0]!r}: is this folder one too high or too low?"
    elif all(each.min() > 0 for each in whole.values()):
        yield "no sample has the class 0: networks count from 0"
    for name, each in whole.items():
        without = [
            source.classes[int(label)]
            for label in np.setdiff1d(np.arange(len(source.classes)), each)
            if any((other == label).any() for other in whole.values())
        ]
        if without:
            yield f"{name} has no sample of {listed(without)}"
