"""Arrays of any numeric type and rank in ``.npy`` and ``.npz`` files, read a batch at a time.

The rows of a batch are read from the file where they stand, so memory does not grow with the file.
Members of an ``.npz`` file that are compressed cannot be, and are read whole.
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from tokenize import TokenError
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from edgeq.brief import brief
from edgeq.data.readers.arrays import read_npz
from edgeq.data.samples import places
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.data.samples import Samples

_NUMERIC = "biuf"
_LOCAL_HEADER = 30  # bytes of a zip member's header before its name


@dataclass(frozen=True, slots=True, eq=False)
class StoredArray:
    """An array in a file, of which a batch at a time is in memory.

    Attributes:
        path: the file.
        start: where its numbers begin, in bytes.
        shape: (n, *sample).
        dtype: of its numbers.
    """

    path: Path
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    __repr__ = brief

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, where: slice | NDArray[np.int64]) -> NDArray[Any]:
        rows = places(where, len(self))
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        # neighbours are read at once
        ends = [*(np.flatnonzero(np.diff(rows) != 1) + 1), len(rows)]
        begin = 0
        with self.path.open("rb") as file:
            for end in ends:
                if end > begin:
                    self._read(file, int(rows[begin]) * size, found[begin:end])
                begin = end
        return found.astype(self.dtype.newbyteorder("="), copy=False)

    def _read(self, file: IO[bytes], offset: int, into: NDArray[Any]) -> None:
        wanted = into.nbytes
        file.seek(self.start + offset)
        content = file.read(wanted)
        if len(content) != wanted:
            raise ArtefactError(f"{self.path} is shorter than it says", hint="write it again")
        into[...] = np.frombuffer(content, self.dtype).reshape(into.shape)


def read_npy(path: Path) -> StoredArray:
    """The array of a ``.npy`` file, none of whose rows is read yet.

    Raises:
        ArtefactError: missing, no ``.npy`` file, of no numbers, in Fortran's order, or shorter than
            it says.
    """
    try:
        with path.open("rb") as file:
            shape, dtype, fortran = _header(file)
            start = file.tell()
        held = path.stat().st_size - start
    except (OSError, ValueError, EOFError) as error:
        raise ArtefactError(
            f"{path} is no readable .npy file: {error}", hint="write it with numpy.save"
        ) from error
    return _checked(path, path.name, start, held, shape, dtype, fortran=fortran)


def read_arrays(path: Path) -> dict[str, Samples]:
    """The arrays of an ``.npz`` file by name; those that are not compressed are read by the batch.

    Raises:
        ArtefactError: missing, no ``.npz`` file, or broken.
    """
    stored = _stored_members(path)
    if stored is not None:
        return dict(stored)
    return dict(read_npz(path, "data set"))


def _stored_members(path: Path) -> Mapping[str, StoredArray] | None:
    """None where the file has a member that cannot be read by the batch."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
            found = {}
            for member in archive.infolist():
                if member.compress_type != zipfile.ZIP_STORED:
                    return None
                raw.seek(member.header_offset)
                header = raw.read(_LOCAL_HEADER)
                names = int.from_bytes(header[26:28], "little")
                extra = int.from_bytes(header[28:30], "little")
                begin = member.header_offset + _LOCAL_HEADER + names + extra
                raw.seek(begin)
                shape, dtype, fortran = _header(raw)
                if dtype.kind not in _NUMERIC or fortran or not shape:
                    return None
                used = raw.tell() - begin
                name = member.filename.removesuffix(".npy")
                found[name] = _checked(
                    path, name, raw.tell(), member.file_size - used, shape, dtype, fortran=False
                )
            return found
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError):
        return None  # read_npz tells what is wrong


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    version = np.lib.format.read_magic(file)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    try:
        shape, fortran, dtype = read(file)
    except (SyntaxError, TokenError) as error:  # numpy reads a header as Python
        raise ValueError("its header is broken") from error
    return shape, dtype, fortran


def _checked(
    path: Path,
    name: str,
    start: int,
    held: int,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *,
    fortran: bool,
) -> StoredArray:
    if dtype.kind not in _NUMERIC:
        raise ArtefactError(
            f"{name} of {path} holds {dtype}, no numbers", hint="save an array of numbers"
        )
    if fortran and len(shape) > 1:
        raise ArtefactError(
            f"{path} holds columns one behind the other, and its rows cannot be read alone",
            hint="save it with numpy.save(file, numpy.ascontiguousarray(array))",
        )
    if not shape or shape[0] == 0:
        raise ArtefactError(
            f"{name} of {path} has the shape {shape}, and no samples",
            hint="let the first axis count samples",
        )
    if math.prod(shape) * dtype.itemsize > held:
        raise ArtefactError(f"{path} is shorter than it says", hint="write it again")
    return StoredArray(path, start, shape, dtype)
