"""Opens a float ONNX file that may be broken or hostile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from edgeq.errors import ArtefactError
from edgeq.files import MAX_MODEL_BYTES, read_bytes
from edgeq.formats.artefact import detect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def load_float(path: Path) -> ir.Model:
    """A float ONNX model with all of its weights in memory.

    Args:
        path: an ONNX file; weights kept outside it have to be in its folder.

    Raises:
        ArtefactError: missing, broken, foreign or too large, or external weights that are missing
            or elsewhere.
    """
    if detect(path) != "onnx":
        raise ArtefactError(
            f"{path} is no ONNX file",
            hint="calibrate a float ONNX file; edgeq export makes one of a checkpoint",
        )
    try:
        proto: onnx.ModelProto = onnx.ModelProto.FromString(read_bytes(path, "ONNX file"))
        _check_external(proto, path.parent)
        onnx.load_external_data_for_model(proto, str(path.parent))
        onnx.checker.check_model(proto)
        return ir.from_proto(proto)
    except ArtefactError:
        raise
    except (
        DecodeError,
        onnx.checker.ValidationError,
        ir.serde.SerdeError,
        ValueError,
        TypeError,
        OSError,
    ) as error:
        raise ArtefactError(
            f"{path} is no valid ONNX file: {error}", hint="is it truncated? export it again"
        ) from error


def _check_external(proto: onnx.ModelProto, folder: Path) -> None:
    """Weights outside the file.

    Only from its own folder, links followed, and not more than a model may have.
    """
    home, files = folder.resolve(), set()
    for tensor in _tensors(proto):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = next(
            (entry.value for entry in tensor.external_data if entry.key == "location"), ""
        )
        file = (home / location).resolve()
        if not location or home not in file.parents:
            raise ArtefactError(
                f"the weight {tensor.name!r} lies outside the model's folder: {location!r}",
                hint="put it beside the model",
            )
        if not file.is_file():
            raise ArtefactError(
                f"the weight {tensor.name!r} is missing: there is no file {file}",
                hint="copy the model with its data",
            )
        files.add(file)
    size = sum(file.stat().st_size for file in files)
    if size > MAX_MODEL_BYTES:
        raise ArtefactError(
            f"the weights beside the model have {size} bytes, more than a model may have",
            hint="is it the right file?",
        )


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    graphs = [proto.graph]
    while graphs:
        graph = graphs.pop()
        yield from graph.initializer
        for attribute in (attribute for node in graph.node for attribute in node.attribute):
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            graphs += [attribute.g] if attribute.HasField("g") else []
            graphs += attribute.graphs
