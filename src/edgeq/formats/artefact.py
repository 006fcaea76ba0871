"""The format of a file, by its name and its first bytes, before any runtime touches it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Literal

from edgeq.errors import ArtefactError
from edgeq.files import MAX_MODEL_BYTES

if TYPE_CHECKING:
    from pathlib import Path

Format = Literal["checkpoint", "onnx", "tflite"]
_SUFFIX: dict[str, Format] = {".safetensors": "checkpoint", ".onnx": "onnx", ".tflite": "tflite"}
_SPELLED: dict[Format, str] = {
    "checkpoint": "a checkpoint",
    "onnx": "an ONNX",
    "tflite": "a TFLite",
}


def resolve(path: Path) -> Path:
    """The artefact a user means.

    A training folder stands for its best checkpoint, else its last one.

    Raises:
        ArtefactError: nothing is there, or the folder holds no checkpoint.
    """
    if not path.exists():
        raise ArtefactError(
            f"there is no artefact at {path}",
            hint="check the path",
        )
    if not path.is_dir():
        return path
    for name in ("best.safetensors", "last.safetensors"):
        if (path / name).is_file():
            return path / name
    raise ArtefactError(
        f"the folder {path} holds no checkpoint", hint="name a .safetensors, .onnx or .tflite file"
    )


def files_behind(path: Path) -> list[Path]:
    """A file, and the files beside an ONNX model that hold weights of it.

    What is no model of a whole kind stands for itself; opening it tells what is wrong.
    """
    if path.suffix != ".onnx":
        return [path]
    import onnx
    from google.protobuf.message import DecodeError

    from edgeq.formats.onnx_validation import external_files

    try:
        proto = onnx.load(path, load_external_data=False)
        return [path, *sorted(external_files(proto, path.parent))]
    except (DecodeError, ArtefactError):
        return [path]


def size_of(path: Path) -> int:
    """The bytes of :func:`files_behind` a file."""
    return sum(each.stat().st_size for each in files_behind(path))


def detect(path: Path) -> Format:
    """The format of a file, checked against its first bytes.

    Raises:
        ArtefactError: missing, empty, too large, of an unknown kind, or of another kind than its
            name says.
    """
    if not path.is_file():
        raise ArtefactError(f"there is no artefact at {path}", hint="check the path")
    size = path.stat().st_size
    if size == 0:
        raise ArtefactError(
            f"{path} has zero bytes", hint="export it again; an interrupted copy leaves such files"
        )
    if size > MAX_MODEL_BYTES:
        raise ArtefactError(
            f"{path} has {size} bytes, more than a model file may have",
            hint="is it the right file?",
        )
    try:
        named = _SUFFIX[path.suffix]
    except KeyError:
        raise ArtefactError(
            f"{path} has none of the endings {', '.join(_SUFFIX)}",
            hint="name a checkpoint, an ONNX file or a TFLite file",
        ) from None
    with path.open("rb") as file:
        head = file.read(16)
    if not _looks_like(named, head, size):
        raise ArtefactError(
            f"{path} is not {_SPELLED[named]} file: its first bytes say otherwise",
            hint="is it truncated, or another file renamed?",
        )
    return named


def _looks_like(kind: Format, head: bytes, size: int) -> bool:
    if kind == "tflite":
        return head[4:8] == b"TFL3"
    if kind == "checkpoint":  # safetensors: the length of the JSON header, then the header
        return (
            len(head) > 8 and 0 < struct.unpack("<Q", head[:8])[0] <= size - 8 and head[8:9] == b"{"
        )
    # ONNX: protobuf field 1, the IR version, written first by every tool
    return head[:1] == b"\x08"


def in_float(path: Path) -> bool:
    """Whether a TFLite file holds no quantised tensor; False of what is none."""
    if detect(path) != "tflite":
        return False
    from edgeq.files import read_bytes
    from edgeq.formats.tflite_file import graph_of

    tensors = graph_of(read_bytes(path, "TFLite file")).tensors
    return all(tensor.scale.size == 0 for tensor in tensors)
