"""CIFAR and Planetoid are published as Python pickles, and a pickle is a program.

This reads theirs and runs nothing.

A pickle names functions to call. A few names are needed to describe NumPy arrays, SciPy matrices
and Python's own containers, and each of them is answered with a stand-in of ours that only
remembers its arguments; any other name is refused. So not even NumPy's own code is called with what
the file says, and an array's bytes are held against its shape before one is made.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.files import MAX_MODEL_BYTES, read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_MALFORMED = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    RecursionError,
)
_MEMO_OPCODES = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})


class _Dtype:
    """Stands for ``numpy.dtype``."""

    def __init__(self, code: object = None, *_flags: object) -> None:
        self.code = code
        self.order: object = "<"

    def __setstate__(self, state: object) -> None:
        """Byte order and alignment.

        All that are asked for here are single bytes or little-endian.
        """
        if isinstance(state, tuple) and len(state) > 1:
            self.order = state[1]


class PickledArray:
    """Stands for ``numpy.ndarray``.

    Becomes a real one on demand, once the whole file has been read.
    """

    def __init__(self, *_arguments: object) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Remember what the file says."""
        self.state = state

    def value(self, code: str) -> NDArray[Any]:
        """The array, read-only.

        Args:
            code: the type it must have, such as ``u1``; little-endian.

        Raises:
            ValueError: another type, or not as many bytes as its shape needs.
            TypeError: something else than bytes for its content.
        """
        _version, shape, dtype, by_columns, content = self.state
        expected = np.dtype(f"<{code}")
        if (
            not isinstance(dtype, _Dtype)
            or dtype.code not in (code, f"|{code}", f"<{code}")
            or dtype.order not in ("<", "|", "=")
        ):
            raise ValueError(f"an array is not of the type {expected.name}")
        raw = content.encode("latin1") if isinstance(content, str) else content
        if not isinstance(raw, bytes):
            raise TypeError("an array's content is no text of bytes")
        if min(shape, default=0) < 0 or len(raw) != math.prod(shape) * expected.itemsize:
            raise ValueError(f"an array of the shape {shape} has {len(raw)} bytes")
        return np.frombuffer(raw, expected).reshape(shape, order="F" if by_columns else "C")


class PickledMatrix:
    """Stands for ``scipy.sparse.csr_matrix``: what the file says of one, by attribute."""

    def __init__(self, *_arguments: object) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Remember what the file says."""
        self.state = state


class _Mapping(dict[Any, Any]):
    """Stands for ``collections.defaultdict``, without its factory."""

    def __init__(self, *_factory: object) -> None:
        super().__init__()


_ARRAYS: Mapping[tuple[str, str], type] = {
    ("numpy.core.multiarray", "_reconstruct"): PickledArray,
    ("numpy._core.multiarray", "_reconstruct"): PickledArray,
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): _Dtype,
}
_CONTAINERS: Mapping[tuple[str, str], type] = {
    ("scipy.sparse.csr", "csr_matrix"): PickledMatrix,
    ("scipy.sparse._csr", "csr_matrix"): PickledMatrix,
    ("collections", "defaultdict"): _Mapping,
    ("__builtin__", "list"): _Mapping,  # the factory, which is never called
    ("builtins", "list"): _Mapping,
}


class _Reader(pickle.Unpickler):
    def __init__(
        self, content: bytes, path: Path, what: str, names: Mapping[tuple[str, str], type]
    ) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")
        self._path, self._what, self._names = path, what, names

    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in self._names:
            raise ArtefactError(
                f"{self._path} wants to call {module}.{name}, which no published "
                f"{self._what} does: it may be an attack",
                hint="delete it, and download it from its authors again",
            )
        return self._names[module, name]


@contextmanager
def refusing_malformed(path: Path, what: str) -> Iterator[None]:
    """Turn whatever a broken pickle raises into one message about the file.

    Raises:
        ArtefactError: the content is malformed.
    """
    try:
        yield
    except _MALFORMED as error:
        raise ArtefactError(
            f"{path} is no published {what}: {error}", hint="download it from its authors again"
        ) from error


def read_pickled_mapping(path: Path) -> Mapping[str, object]:
    """The dictionary of one published CIFAR file; its arrays are uint8 and read-only.

    Raises:
        ArtefactError: missing, broken, no dictionary with text for keys, or naming anything but a
            NumPy array.
    """
    with refusing_malformed(path, "CIFAR file"):
        found = _load(path, "CIFAR file", _ARRAYS)
        if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
            raise ValueError("it holds no dictionary")
        return {
            key: value.value("u1") if isinstance(value, PickledArray) else value
            for key, value in found.items()
        }


def read_pickled_part(path: Path, what: str, *, limit: int) -> object:
    """What one published file of a graph holds.

    A dictionary, a :class:`PickledArray` or a :class:`PickledMatrix`.

    Args:
        path: the file.
        what: the noun for messages, such as ``"Planetoid file"``.
        limit: the largest size accepted, in bytes.

    Raises:
        ArtefactError: missing, too large, broken, or naming anything but an array, a sparse matrix
            or a dictionary.
    """
    with refusing_malformed(path, what):
        return _load(path, what, {**_ARRAYS, **_CONTAINERS}, limit)


def _load(
    path: Path, what: str, names: Mapping[tuple[str, str], type], limit: int = MAX_MODEL_BYTES
) -> object:
    content = read_bytes(path, what, limit=limit)
    with warnings.catch_warnings():
        # Python comments on odd escapes in old text opcodes; we read or refuse them
        warnings.simplefilter("ignore")
        _check_memo(content)
        return _Reader(content, path, what, names).load()


def _check_memo(content: bytes) -> None:
    """Refuse a memo slot beyond the file's own length.

    The C unpickler would allocate everything up to it.
    """
    for opcode, argument, _position in pickletools.genops(content):
        if opcode.name in _MEMO_OPCODES and int(argument or 0) > len(content):
            raise ValueError(f"memo slot {argument} in a file of {len(content)} bytes")
