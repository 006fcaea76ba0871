"""Locks that end with the process that holds them, however it ends.

Where there are none, as on Windows and some network file systems, nobody is refused, and nothing
that others may still write is removed.
"""

from __future__ import annotations

import os
import platform
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from edgeq.errors import OutputError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Lock = Literal["ours", "taken", "none"]
NAME = ".edgeq.lock"
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # what a link leads to is nobody's lock


def lock(descriptor: int) -> Lock:
    """Try to have the lock of an open file or folder until it is closed.

    Returns:
        ``"taken"`` where another process has it, ``"none"`` where there are no locks.
    """
    if sys.platform == "win32":
        return "none"
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "taken"
    except OSError:
        return "none"
    return "ours"


def is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is what a path leads to, and not one that was removed meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def in_use(folder: Path, what: str, file: str = "") -> Iterator[None]:
    """While it holds, no other process gets into it with the same folder, or the same file there.

    Args:
        folder: made where it is not there.
        what: the work, for messages: ``"training"``.
        file: the name of the file that is to be written there; empty for the whole folder.

    Raises:
        OutputError: another process works there, or the folder cannot be written.
    """
    path = folder / (f".{file}.lock" if file else NAME)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _entered(path, what, folder / file)
    except OSError as error:
        raise OutputError(
            f"{path if folder.is_dir() else folder} cannot be written: {error.strerror}",
            hint="choose another place with -o/--output",
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _entered(path: Path, what: str, place: Path) -> int:
    """The lock's file, open, with this process noted in it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o666)
        taken = lock(descriptor) == "taken"
        if not taken and is_at(descriptor, path):
            break
        who = os.read(descriptor, 200).decode(errors="replace")
        os.close(descriptor)
        if taken:
            raise OutputError(
                f"{place} is in use: {who or 'another process works there'}",
                hint="wait until it is done, end it, or choose another place with -o/--output",
            )
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {platform.node()} is {what} there".encode())
    return descriptor
