"""Arrays that two processes on one machine hand each other without sending them.

The arrays lie in a file without a name that both have mapped; only where they lie is sent, as a
frame of :mod:`edgeq.targets.workers.wire` over a socket.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from math import prod
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from edgeq.targets.workers.wire import DTYPES, BrokenFrame, pack, unpack

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_ALIGNED = 64  # bytes
_LEAST = 2**20


class Region:
    """Memory of two processes, as large as what lay in it at most.

    Args:
        descriptor: of the file; closed with the region.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map: mmap.mmap | None = None

    @classmethod
    def new(cls) -> Self:
        """A region that another process can be given the descriptor of."""
        if hasattr(os, "memfd_create"):
            import fcntl

            made = os.memfd_create("edgeq", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            # a file that shrank would end whoever reads it
            fcntl.fcntl(made, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
            return cls(made)
        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()))

    def put(self, arrays: Sequence[NDArray[Any]]) -> list[tuple[str, list[int], int]]:
        """Copy arrays into the region; the type, the shape and the place of each.

        Raises:
            BrokenFrame: one is of a type that nobody sends.
        """
        listed, end = list[tuple[str, list[int], int]](), 0
        for array in arrays:
            if array.dtype.name not in DTYPES:
                raise BrokenFrame(f"an array of {array.dtype} cannot be sent")
            listed.append((array.dtype.name, list(array.shape), end))
            end += -(-array.nbytes // _ALIGNED) * _ALIGNED
        mapped = self._mapped(end, grow=True)
        for array, (_, _, start) in zip(arrays, listed, strict=True):
            there = np.frombuffer(mapped, array.dtype, array.size, start)
            np.copyto(there.reshape(array.shape), array)
        return listed

    def get(self, listed: Any) -> list[NDArray[Any]]:
        """The arrays that the other side put there; they hold until it puts the next ones.

        They are views of one array, which is gone when the last of them is.

        Raises:
            BrokenFrame: they cannot lie there.
        """
        if listed == []:
            return []
        found = _listed(listed)
        end = max((start + kind.itemsize * prod(shape) for kind, shape, start in found), default=0)
        whole = np.frombuffer(self._mapped(end, grow=False), np.uint8)
        return [
            whole[start : start + kind.itemsize * prod(shape)].view(kind).reshape(shape)
            for kind, shape, start in found
        ]

    def close(self) -> None:
        """Let go of the file; memory that arrays still lie in goes with them."""
        os.close(self.descriptor)
        self._map = None

    def _mapped(self, size: int, *, grow: bool) -> mmap.mmap:
        if self._map is None or len(self._map) < size:
            there = os.fstat(self.descriptor).st_size
            if there < max(size, 1):
                if not grow:
                    raise BrokenFrame(f"its arrays would end at {size} of {there} bytes")
                there = max(size + size // 4, _LEAST)
                os.ftruncate(self.descriptor, there)
            self._map = mmap.mmap(self.descriptor, there)
        return self._map


def _listed(listed: Any) -> list[tuple[np.dtype[Any], list[int], int]]:
    """The type, the shape and the place of each array that the other side lists."""
    try:
        if all(
            kind in DTYPES and isinstance(shape, list) and all(map(_is_size, (start, *shape)))
            for kind, shape, start in listed
        ):
            found = [(np.dtype(kind), shape, start) for kind, shape, start in listed]
            if all(start % kind.itemsize == 0 for kind, _, start in found):
                return found
    except (TypeError, ValueError):
        pass
    raise BrokenFrame(f"it lists the arrays {str(listed)[:100]}, which cannot be")


def _is_size(number: Any) -> bool:
    return type(number) is int and number >= 0


def send(line: socket.socket, header: Mapping[str, Any]) -> None:
    """Send a frame without arrays."""
    line.sendall(b"".join(pack(header)))


def receive(line: socket.socket) -> dict[str, Any]:
    """Wait for a frame without arrays.

    Raises:
        EOFError: the other side is gone.
        BrokenFrame: what comes is no such frame.
    """
    return unpack(line.recv, limit=0).header
