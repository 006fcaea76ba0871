"""Folders for what is not whole yet. One whose process was killed is removed by the next one.

Each is locked while it is used, so that what lives is told from what was left behind, whatever the
clock says and whichever process has the number of the dead one.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.errors import OutputError
from edgeq.files.locks import is_at, lock

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX = ".edgeq-unfinished-"


@contextmanager
def scratch(parent: Path, name: str = "") -> Iterator[Path]:
    """A new folder that goes away at the end, with those that killed processes have left.

    Args:
        parent: where it is made.
        name: what its name is to hold.
    """
    _discard_left_once(parent.absolute())
    descriptor, path = _made(parent, name)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder where the system keeps temporary files, which goes away at the end.

    Raises:
        OutputError: there is no place for any.
    """
    with ExitStack() as stack:
        with _no_place_told():
            path = stack.enter_context(scratch(Path(tempfile.gettempdir())))
        yield path


@contextmanager
def _no_place_told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"no temporary files can be written: {error.strerror}",
            hint="set TMPDIR to a folder with room that you may write",
        ) from error


def discard_left(parent: Path, name: str = "") -> bool:
    """Remove the folders of a name that no process uses any more; whether there were any."""
    if sys.platform == "win32":
        return False
    try:
        left = [path for path in parent.iterdir() if path.name.startswith(f"{_PREFIX}{name}")]
    except OSError:
        return False
    found = False
    for path in left:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if os.fstat(descriptor).st_uid == os.getuid() and lock(descriptor) == "ours":
                shutil.rmtree(path, ignore_errors=True)
                found = True
        finally:
            os.close(descriptor)
    return found


_discard_left_once = lru_cache(maxsize=64)(discard_left)
"""A folder where many files are written is listed once by each process."""


def _made(parent: Path, name: str) -> tuple[int | None, Path]:
    """A new folder, and what holds its lock; None where a folder cannot be opened."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{name}", dir=parent))
        if sys.platform == "win32":
            return None, path
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        if lock(descriptor) != "taken" and is_at(descriptor, path):
            return descriptor, path
        os.close(descriptor)  # taken for left behind before it was locked
