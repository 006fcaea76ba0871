"""Arrays by name from an ``.npz`` file of unknown origin.

Nothing in it runs, and nothing large is allocated unseen.

``numpy.load`` trusts the shape that a header states and allocates it. Here every header is held
against the size of its own member and against a limit first, so a file of a hundred bytes cannot
ask for a terabyte.
"""

from __future__ import annotations

import math
import warnings
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

MAX_ARRAY_BYTES = 2**32
"""The most that the arrays of one file may need in memory."""

_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    EOFError,
    OSError,
    KeyError,
    NotImplementedError,
    RuntimeError,
)


def read_npz(path: Path, what: str, *, limit: int = MAX_ARRAY_BYTES) -> Mapping[str, NDArray[Any]]:
    """Every array of the file.

    Args:
        path: the file.
        what: the noun for messages, such as ``"data set"``.
        limit: the most bytes its arrays may need together.

    Raises:
        ArtefactError: missing, no ``.npz`` file, truncated, larger than ``limit``, or holding
            Python objects.
    """
    if not path.is_file():
        raise ArtefactError(f"there is no {what} at {path}", hint="check the path")
    try:
        with warnings.catch_warnings():
            # NumPy comments on the headers of old or damaged files; we read or refuse them
            warnings.simplefilter("ignore")
            return _read(path, limit)
    except _UNREADABLE as error:
        raise ArtefactError(
            f"{path} is no readable .npz {what}: {error}", hint="write or download it again"
        ) from error


def _read(path: Path, limit: int) -> Mapping[str, NDArray[Any]]:
    _check_headers(path, limit)
    with np.load(path, allow_pickle=False) as content:
        return {name: content[name] for name in content.files}


def _check_headers(path: Path, limit: int) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > limit:
            raise ArtefactError(
                f"{path} unpacks to more than the {limit} bytes accepted",
                hint="is it the right file?",
            )
        for member in members:
            with archive.open(member) as file:
                _check_header(file, member)


def _check_header(file: IO[bytes], member: zipfile.ZipInfo) -> None:
    version = np.lib.format.read_magic(file)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError(f"{member.filename} holds Python objects, which could run code")
    if file.tell() + math.prod(shape) * dtype.itemsize != member.file_size:
        raise ValueError(f"{member.filename} states the shape {shape}, which is not what it holds")
