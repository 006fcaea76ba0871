"""CIFAR is published as Python pickles, and a pickle is a program. This reads theirs and runs nothing.

A pickle names functions to call. Four names are needed to describe a NumPy array, and each of them is answered with a
stand-in of ours that only remembers its arguments; any other name is refused. So not even NumPy's own code is called
with what the file says, and an array's bytes are held against its shape before one is made.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.files import read_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_MALFORMED = (pickle.UnpicklingError, EOFError, AttributeError, LookupError, TypeError, ValueError, ArithmeticError, RecursionError)
_MEMO_OPCODES = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})


class _Dtype:
    """Stands for ``numpy.dtype``."""

    def __init__(self, code: object = None, *_flags: object) -> None:
        self.code = code

    def __setstate__(self, _state: object) -> None:
        """Byte order and alignment, which mean nothing for single bytes."""


class _Array:
    """Stands for ``numpy.ndarray``; becomes a real one when the whole file has been read."""

    def __init__(self, *_arguments: object) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def value(self) -> NDArray[np.uint8]:
        _version, shape, dtype, by_columns, content = self.state
        if not isinstance(dtype, _Dtype) or dtype.code not in ("u1", "|u1"):
            raise ValueError("an array is not of the type uint8")
        raw = content.encode("latin1") if isinstance(content, str) else bytes(content)
        if len(raw) != math.prod(shape):
            raise ValueError(f"an array of the shape {shape} has {len(raw)} bytes")
        return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if by_columns else "C")


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
}


class _Reader(pickle.Unpickler):
    def __init__(self, content: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")
        self._path = path

    def find_class(self, module: str, name: str) -> type[_Array | _Dtype]:
        if (module, name) not in _STAND_INS:
            raise ArtefactError(
                f"{self._path} wants to call {module}.{name}, which no published CIFAR file does: it may be an attack",
                mend="delete it, and download the archive from its authors again",
            )
        return _STAND_INS[module, name]


def read_pickled_mapping(path: Path) -> Mapping[str, object]:
    """The dictionary of one published CIFAR file; its arrays are uint8 and read-only.

    Raises:
        ArtefactError: missing, broken, no dictionary with text for keys, or naming anything but a NumPy array.
    """
    content = read_bytes(path, "CIFAR file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python comments on odd escapes in old text opcodes; we read or refuse them
            _check_memo(content)
            found = _Reader(content, path).load()
        if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
            raise ValueError("it holds no dictionary")
        return {key: value.value() if isinstance(value, _Array) else value for key, value in found.items()}
    except _MALFORMED as error:
        raise ArtefactError(f"{path} is no published CIFAR file: {error}", mend="download and unpack the archive again") from error


def _check_memo(content: bytes) -> None:
    """Refuse a memo slot beyond the file's own length: the C unpickler would allocate everything up to it."""
    for opcode, argument, _position in pickletools.genops(content):
        if opcode.name in _MEMO_OPCODES and int(argument or 0) > len(content):
            raise ValueError(f"memo slot {argument} in a file of {len(content)} bytes")
