"""What is read: within limits, and with a message for people where it cannot be."""

from __future__ import annotations

import hashlib
import tomllib
from typing import TYPE_CHECKING, Any

from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from pathlib import Path

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


def sha256_of(path: Path) -> str:
    """Of a file, read a piece at a time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
