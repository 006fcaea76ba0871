"""What is written is there whole, with all that belongs to it, or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from edgeq.errors import OutputError
from edgeq.files.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux, <fcntl.h> and <linux/fs.h>


def write_files(
    contents: Mapping[Path, bytes | Mapping[str, bytes]], *, overwrite: bool = False
) -> None:
    """Write files, and folders of files: all of them, or all is as it was.

    A reader sees the old content of each or all of the new, never a part. Nothing takes its place
    before all of it is on the disk.

    Raises:
        OutputError: one exists and ``overwrite`` is false, a folder holds files of another kind, or
            one cannot be written.
    """
    for path, content in contents.items():
        if isinstance(content, bytes):
            check_output(path, overwrite=overwrite)
        else:
            check_folder(path, content, overwrite=overwrite)
    with ExitStack() as stack:
        staged = []
        for path, content in contents.items():
            with _told(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                new = stack.enter_context(scratch(path.parent)) / "new"
                _fill(new, content)
                staged.append((path, new))
        placed: list[tuple[Path, Path, bool]] = []
        try:
            for path, new in staged:
                with _told(path):
                    placed.append((path, new, _put(new, path)))
        except BaseException:
            for path, new, was_there in reversed(placed):
                _put(new, path) if was_there else _remove(path)
            raise


def write_bytes(path: Path, content: bytes, *, overwrite: bool = False) -> None:
    """Write one file; see :func:`write_files`."""
    write_files({path: content}, overwrite=overwrite)


def write_text(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write one file in UTF-8, with escapes for what has none, as names of files may hold."""
    write_bytes(path, text.encode(errors="backslashreplace"), overwrite=overwrite)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write piece by piece, which takes its place once the block ends well.

    Raises:
        OutputError: it cannot be written.
    """
    check_output(path, overwrite=True)
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch(path.parent) as made:
            new = made / "new"
            with new.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _put(new, path)


def write_json(path: Path, content: Any, *, overwrite: bool = False) -> None:
    """Write a JSON document, indented, keys in the given order, whole or not at all."""
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode(), overwrite=overwrite)


def write_folder(path: Path, files: Mapping[str, bytes], *, overwrite: bool = False) -> None:
    """Write one folder of files; see :func:`write_files`."""
    write_files({path: files}, overwrite=overwrite)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        other = "a shorter name" if error.errno == errno.ENAMETOOLONG else "another place"
        raise OutputError(
            f"{path} cannot be written: {error.strerror}",
            hint=f"{'make room there, or ' if full else ''}choose {other} with -o/--output",
        ) from error


def _fill(new: Path, content: bytes | Mapping[str, bytes]) -> None:
    """Put a content on the disk, in a place of its own."""
    if isinstance(content, bytes):
        with new.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return
    new.mkdir()
    for name, each in content.items():
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        _fill(new / name, each)


def _put(new: Path, path: Path) -> bool:
    """Give a file or folder its place; what was there takes its own. Whether anything was."""
    if not os.path.lexists(path):
        new.rename(path)
        return False
    if not _exchanged(new, path):  # then there is a moment in which nothing is there
        old = new.with_name("old")
        path.rename(old)
        try:
            new.rename(path)
        except OSError:
            old.rename(path)
            raise
        old.rename(new)
    return True


def _exchanged(a: Path, b: Path) -> bool:
    """Let two paths change places at once; whether the system and the file system can."""
    if sys.platform != "linux":
        return False
    import ctypes

    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    ways = (_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE)
    return rename is not None and rename(*ways) == 0


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def check_folder(path: Path, wanted: Collection[str] = (), *, overwrite: bool = False) -> None:
    """Refuse early what :func:`write_folder` would refuse at the end.

    A folder is only replaced by one of its kind: not where it holds a folder, or a file that is
    neither by its ending nor by its stem one of those that are ``wanted`` or made from them.

    Raises:
        OutputError: the folder exists and may not be replaced, or its parent cannot be written.
    """
    with _told(path):
        if path.exists() and not path.is_dir():
            raise OutputError(
                f"{path} is a file, and a folder has to be written there",
                hint="choose another place with -o/--output",
            )
        _check_new(path, overwrite=overwrite)
        kinds = {part for name in wanted for part in (Path(name).suffix, Path(name).stem)}
        items = path.iterdir() if path.exists() and wanted else ()
        foreign = sorted(
            item.name for item in items if item.is_dir() or not {item.suffix, item.stem} & kinds
        )
        if foreign:
            raise OutputError(
                f"{path} holds {foreign[0]!r}, which would be lost",
                hint="choose another place with -o/--output",
            )


def check_output(path: Path, *, overwrite: bool = False) -> None:
    """Refuse early, before long work, what :func:`write_bytes` would refuse at the end.

    Raises:
        OutputError: the file exists and may not be replaced, is a device or the like, or its folder
            cannot be written.
    """
    with _told(path):
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else "no file, but a device, pipe or socket"
            raise OutputError(
                f"{path} is {what}, and a file has to be written there", hint="name a file"
            )
        _check_new(path, overwrite=overwrite)


def _check_new(path: Path, *, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise OutputError(
            f"{path} exists already",
            hint="add --overwrite, or choose another place with -o/--output",
        )
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutputError(
            f"{path} cannot be written: {folder} is no folder that you may write",
            hint="choose another place with -o/--output",
        )
