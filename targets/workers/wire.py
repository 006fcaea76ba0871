"""The frames that a worker and its host exchange.

Both sides run this file, the worker's copy is sent to it.

A frame is a fixed prefix (magic, version, two sizes, little-endian), a JSON header, and the raw
bytes of the arrays that the header lists, in C order. Nothing in a frame can name code. Sizes are
checked before anything is allocated for them, and a payload is read in pieces, so that a sender
that lies about its size costs no memory.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

MAGIC = b"EDGEQ\x00\xffW"  # no text that a runtime might print
VERSION = 1
MAX_HEADER = 16 * 2**20
MAX_PAYLOAD = 2**31
PIECE = 2**20
_PREFIX = struct.Struct("<8sIIQ")
DTYPES = frozenset(
    (
        "bool",
        "float16",
        "float32",
        "float64",
        *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    )
)
_MAX_RANK = 32


class Refused(Exception):
    """What an engine raises for a model that its runtime does not take.

    The text is the first line of why.
    """


class Damaged(Refused):
    """Raised by an engine for a broken file, as against one that its runtime refuses."""


class BrokenFrame(Exception):
    """Bytes that are no frame of this protocol; the text says what they are instead."""


class Truncated(BrokenFrame):
    """The sender went away in the middle of a frame."""


class Frame(NamedTuple):
    """One message.

    Attributes:
        header: plain JSON values.
        arrays: what came with it.
    """

    header: dict[str, Any]
    arrays: list[NDArray[Any]]


def pack(
    header: Mapping[str, Any], arrays: Sequence[NDArray[Any]] = ()
) -> list[bytes | memoryview]:
    """A message as the pieces to send one after another.

    Raises:
        BrokenFrame: it would be larger than a receiver takes.
    """
    whole = [np.ascontiguousarray(array) for array in arrays]
    shapes = [list(np.shape(array)) for array in arrays]
    listed = [[array.dtype.name, shapes[i]] for i, array in enumerate(whole)]
    text = json.dumps({**header, "arrays": listed}).encode()
    size = sum(array.nbytes for array in whole)
    if len(text) > MAX_HEADER or size > MAX_PAYLOAD:
        raise BrokenFrame(f"a message of {len(text)} and {size} bytes is too large to send")
    bodies = [array.reshape(-1).view(np.uint8).data for array in whole if array.size]
    return [_PREFIX.pack(MAGIC, VERSION, len(text), size) + text, *bodies]


def unpack(read: Callable[[int], bytes], limit: int = MAX_PAYLOAD) -> Frame:
    """Read one message.

    Args:
        read: returns at least one and at most as many bytes as asked for, or none at the end.
        limit: the most bytes that its arrays may have.

    Raises:
        EOFError: the sender is gone, and nothing of a message had come.
        BrokenFrame: what came is not a whole message of this version, or too large.
    """
    magic, version, text_bytes, array_bytes = _PREFIX.unpack(
        _exactly(read, _PREFIX.size, first=True)
    )
    if magic != MAGIC:
        raise BrokenFrame(f"it begins with {magic!r}, which is no message")
    if version != VERSION:
        raise BrokenFrame(
            f"it speaks version {version} of the protocol, and this is version {VERSION}"
        )
    if text_bytes > MAX_HEADER or array_bytes > min(limit, MAX_PAYLOAD):
        raise BrokenFrame(
            f"it announces {text_bytes} and {array_bytes} bytes, and may have {MAX_HEADER} "
            f"and {min(limit, MAX_PAYLOAD)}"
        )
    header = _header(_exactly(read, text_bytes))
    return Frame(header, _arrays(header.pop("arrays", []), _exactly(read, array_bytes)))


def _exactly(read: Callable[[int], bytes], size: int, *, first: bool = False) -> bytes:
    got = bytearray()
    while len(got) < size:
        piece = read(min(size - len(got), PIECE))
        if not piece:
            if first and not got:
                raise EOFError
            raise Truncated(f"it ends after {len(got)} of {size} bytes")
        got += piece
    return bytes(got)


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BrokenFrame(f"its header is no JSON: {error}") from error
    if not isinstance(header, dict):
        raise BrokenFrame("its header is no JSON object")
    return header


def _arrays(listed: Any, payload: bytes) -> list[NDArray[Any]]:
    arrays, at = [], 0
    for dtype, shape in _listed(listed):
        count = 1
        for size in shape:
            count *= size
        if at + count * dtype.itemsize > len(payload):
            raise BrokenFrame(f"it lists arrays beyond its {len(payload)} bytes")
        arrays.append(np.frombuffer(payload, dtype, count, at).reshape(shape))
        at += count * dtype.itemsize
    if at != len(payload):
        raise BrokenFrame(f"{len(payload) - at} of its bytes belong to no array")
    return arrays


def _listed(entries: Any) -> list[tuple[np.dtype[Any], list[int]]]:
    """The type and shape of each array that a header lists."""
    try:
        found = [(kind, shape) for kind, shape in entries]
        if all(kind in DTYPES and _is_shape(shape) for kind, shape in found):
            return [(np.dtype(kind).newbyteorder("<"), shape) for kind, shape in found]
    except (TypeError, ValueError):
        pass
    raise BrokenFrame(f"it lists the arrays {str(entries)[:100]}, which cannot be")


def _is_shape(shape: Any) -> bool:
    return (
        isinstance(shape, list)
        and len(shape) <= _MAX_RANK
        and all(type(size) is int and 0 <= size <= MAX_PAYLOAD for size in shape)
    )
