"""Whether samples can be used at all, told before long work: broken files, sizes, NaN."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from edgeq.data.batching import CHUNK, parts_of
from edgeq.data.preprocessing import TO_ONE_SIZE
from edgeq.data.samples import Files, Subset
from edgeq.errors import ArtefactError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.data.preprocessing import Preprocessing
    from edgeq.data.samples import Samples
    from edgeq.data.source import Split

NAMED = 8  # samples that a message names


def check(part: Split, preprocessing: Preprocessing) -> None:
    """Refuse samples that would end the work on them later.

    Of a file the head is read, and whether its end is there; numbers are looked at all.

    Args:
        part: the samples that are to be used.
        preprocessing: how they are fed.

    Raises:
        ArtefactError: files are broken, or numbers are NaN or infinite; names the first of them.
        UsageError: the samples differ in size, and nothing brings them to one.
    """
    for name, samples in part.inputs.items():
        files, places = _behind(samples)
        if isinstance(files, Files):
            _check_files(files, places, preprocessing)
        elif samples.dtype.kind == "f":
            path = getattr(files, "path", None)
            told = f"the input {name!r}" if name else "the samples"
            _check_numbers(samples, told if path is None else f"{told} of {path}", part)


def readable(part: Split, where: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of some samples that can be read, each of which is: int64."""
    kept = []
    for place in where.tolist():
        with suppress(ArtefactError):
            for samples in part.inputs.values():
                _ = samples[place : place + 1]
            kept.append(place)
    return np.array(kept, np.int64)


def left_out(part: Split, where: NDArray[np.int64], kept: NDArray[np.int64]) -> str:
    """Which of some samples are not among those kept, in words; empty for none."""
    lost = np.setdiff1d(where, kept)
    if not lost.size:
        return ""
    named = listed([str(part.names[place] if part.names else place) for place in lost.tolist()])
    return f"{lost.size} of {len(where)} samples are left out: {named}"


def listed(names: list[str]) -> str:
    """The first of some names, and that there are more."""
    return ", ".join(names[:NAMED]) + (" …" if len(names) > NAMED else "")


def _behind(samples: Samples) -> tuple[Samples, NDArray[np.int64]]:
    """The samples that some were chosen from, and the places of those."""
    if isinstance(samples, Subset):
        return samples.samples, samples.where
    return samples, np.arange(len(samples))


def _check_files(files: Files, places: NDArray[np.int64], preprocessing: Preprocessing) -> None:
    broken: list[str] = []
    first, sizes = None, dict[tuple[int, ...], int]()
    for place in places.tolist():
        try:
            shape = files.look(place)
        except ArtefactError as error:
            first = first or error
            broken.append(str(files.paths[place]))
            continue
        sizes.setdefault(_as_fed(shape, preprocessing), place)
    if first is not None and len(broken) > 1:
        raise ArtefactError(
            f"{len(broken)} of {len(places)} files in {files.folder} cannot be read: "
            f"{listed(broken)}; the first: {first.what}",
            hint=first.hint,
        )
    if first is not None:
        raise first
    if len(sizes) > 1:
        (one, here), (other, there) = list(sizes.items())[:2]
        raise UsageError(
            f"the samples differ in size: {files.folder / files.paths[here]} is {_size(one)}, "
            f"{files.folder / files.paths[there]} is {_size(other)}",
            hint=TO_ONE_SIZE,
        )


def _as_fed(shape: tuple[int, ...], preprocessing: Preprocessing) -> tuple[int, ...]:
    if len(shape) == 1:
        return shape if preprocessing.audio is None else ()
    return preprocessing.size_of(shape[0], shape[1])


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) if len(shape) > 1 else f"{shape[0]:,} samples long"


def _check_numbers(samples: Samples, what: str, part: Split) -> None:
    count, first = 0, None
    for where in parts_of(len(samples), CHUNK):
        values = samples[where]
        odd = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
        count += len(odd)
        if first is None and len(odd):
            first = where.start + int(odd[0])
    if first is not None:
        raise ArtefactError(
            f"{count} of {len(samples)} of {what} hold NaN or infinity, number "
            f"{int(part.ids[first])} first, counted from 0",
            hint="look for its cause in the data, or leave these samples out",
        )
