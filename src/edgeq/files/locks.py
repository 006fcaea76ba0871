"""Locks that end with the process that holds them, however it ends.

Where there are none, as on Windows and some network file systems, nobody is refused, and nothing
that others may still write is removed.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal

from edgeq.errors import OutputError
from edgeq.files.interruption import ended_in_order

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Lock = Literal["ours", "taken", "none"]
NAME = ".edgeq.lock"
_LONGEST = 255  # bytes of a name, on nearly every file system
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
    path = folder / (name_beside(file, ".", ".lock") if file else NAME)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _entered(path, what, folder / file)
    except OSError as error:
        raise OutputError(
            f"{path if folder.is_dir() else folder} cannot be written: {error.strerror}",
            hint="choose another place with -o/--output",
        ) from error
    try:
        with ended_in_order():
            yield
    finally:
        with suppress(PermissionError):  # somebody else's, in a folder where each removes their own
            path.unlink(missing_ok=True)
        os.close(descriptor)


def name_beside(file: str, before: str = "", after: str = "") -> str:
    """The name of a file that belongs to another one.

    Args:
        file: the other's name; where what is added leaves no room, a digest of it stands for it.
        before: what is put before it.
        after: what is put after it.
    """
    name = f"{before}{file}{after}"
    digest = hashlib.sha256(file.encode(errors="surrogateescape")).hexdigest()
    return name if len(os.fsencode(name)) <= _LONGEST else f"{before}{digest}{after}"


def _opened(path: Path) -> int:
    """A lock's file, to write to; to read only, where somebody else left it behind."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o666)
    except PermissionError:
        return os.open(path, os.O_RDONLY | _NO_LINK)


def _entered(path: Path, what: str, place: Path) -> int:
    """The lock's file, open, with this process noted in it."""
    while True:
        descriptor = _opened(path)
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
    with suppress(OSError):  # it is held all the same, only without a name
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {platform.node()} is {what} there".encode())
    return descriptor
