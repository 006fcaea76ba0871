"""Files are read within limits and written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeq.errors import ArtefactError, OutputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

MAX_MODEL_BYTES = 2**31  # a FlatBuffer and a protobuf both end here


def read_bytes(
    path: Path, what: str, *, limit: int = MAX_MODEL_BYTES, first: int = MAX_MODEL_BYTES
) -> bytes:
    """The content of a file, with a message for people where it cannot be had.

    Args:
        path: the file.
        what: the noun for messages, such as ``"checkpoint"``.
        limit: the largest size accepted, in bytes.
        first: read no more than so many bytes of its beginning.

    Raises:
        ArtefactError: missing, a folder, unreadable, empty or larger than ``limit``.
    """
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise ArtefactError(f"{path} is a folder, not a {what}", hint="name the file inside it")
        if size > limit:
            raise ArtefactError(
                f"{path} has {size} bytes, more than the {limit} a {what} may have",
                hint="is it the right file?",
            )
        with path.open("rb") as file:
            content = file.read(min(size, first))
    except FileNotFoundError as error:
        raise ArtefactError(f"there is no {what} at {path}", hint="check the path") from error
    except OSError as error:
        raise ArtefactError(
            f"{path} cannot be read: {error.strerror}", hint="check its permissions"
        ) from error
    if not content:
        raise ArtefactError(
            f"{path} has zero bytes, so it is no {what}",
            hint="write it again; an interrupted copy leaves such files",
        )
    return content


def parse_toml(content: bytes | str) -> dict[str, Any]:
    """The tables of a TOML document.

    Raises:
        ValueError: it is none, no UTF-8, or its values nest too deep.
    """
    try:
        return tomllib.loads(content if isinstance(content, str) else content.decode())
    except RecursionError:
        raise ValueError("its values nest too deep") from None


def check_model_size(size: int, what: str) -> None:
    """Refuse to build a model file that no runtime could read.

    Args:
        size: how many bytes its numbers take.
        what: the kind of file, such as ``"TFLite file"``.

    Raises:
        ArtefactError: they are more than such a file may have.
    """
    if size > MAX_MODEL_BYTES:
        raise ArtefactError(
            f"the model's numbers take {size} bytes, more than the {MAX_MODEL_BYTES} of one {what}",
            hint="quantise its weights, or export it in parts",
        )


def write_bytes(path: Path, content: bytes, *, overwrite: bool = False) -> None:
    """Write a file so that a reader sees the old content or all of the new, never a part.

    Raises:
        OutputError: ``path`` exists and ``overwrite`` is false, or it cannot be written.
    """
    check_output(path, overwrite=overwrite)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
        temporary = None
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror}", hint=_elsewhere(error)
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _elsewhere(error: OSError) -> str:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"{'make room there, or ' if full else ''}choose another place with -o/--output"


def write_json(path: Path, content: Any, *, overwrite: bool = False) -> None:
    """Write a JSON document, indented, keys in the given order, whole or not at all."""
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode(), overwrite=overwrite)


def write_folder(path: Path, files: Mapping[str, bytes], *, overwrite: bool = False) -> None:
    """Write a folder so that a reader sees the old one or all of the new, never a part.

    Raises:
        OutputError: ``path`` exists and ``overwrite`` is false, holds files of another kind, or
            cannot be written.
    """
    check_folder(path, files, overwrite=overwrite)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        new, old = temporary / "new", temporary / "old"
        for name, content in files.items():
            write_bytes(new / name, content)
        _exchange(path, new, old)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror}", hint=_elsewhere(error)
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _exchange(path: Path, new: Path, old: Path) -> None:
    if path.exists():
        path.rename(old)
    try:
        new.rename(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise


def check_folder(path: Path, wanted: Collection[str] = (), *, overwrite: bool = False) -> None:
    """Refuse early what :func:`write_folder` would refuse at the end.

    A folder is only replaced by one of its kind: not where it holds a folder, or a file that is
    neither by its ending nor by its stem one of those that are ``wanted`` or made from them.

    Raises:
        OutputError: the folder exists and may not be replaced, or its parent cannot be written.
    """
    if path.exists() and not path.is_dir():
        raise OutputError(
            f"{path} is a file, and a folder has to be written there",
            hint="choose another place with -o/--output",
        )
    if path.exists() and not overwrite:
        raise OutputError(
            f"{path} exists already",
            hint="add --overwrite, or choose another place with -o/--output",
        )
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
    _check_parent(path)


def check_output(path: Path, *, overwrite: bool = False) -> None:
    """Refuse early, before long work, what :func:`write_bytes` would refuse at the end.

    Raises:
        OutputError: the file exists and may not be replaced, or its folder cannot be written.
    """
    if path.is_dir():
        raise OutputError(
            f"{path} is a folder, and a file has to be written there", hint="name a file"
        )
    if path.exists() and not overwrite:
        raise OutputError(
            f"{path} exists already",
            hint="add --overwrite, or choose another place with -o/--output",
        )
    _check_parent(path)


def _check_parent(path: Path) -> None:
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutputError(
            f"{path} cannot be written: {folder} is no folder that you may write",
            hint="choose another place with -o/--output",
        )


def sha256_of(path: Path) -> str:
    """Of a file, read a piece at a time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
