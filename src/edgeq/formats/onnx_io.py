"""ONNX files in and out: the only place that parses or writes one.

A file is read within limits, its external data only from its own folder. What may be wrong with the
graph in it is told by :mod:`edgeq.formats.onnx_validation`.
"""

from __future__ import annotations

import gc
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeq.errors import ArtefactError, first_line, shown
from edgeq.files import check_model_size, read_bytes
from edgeq.formats.artefact import detect
from edgeq.formats.onnx_validation import (
    check_external_data,
    check_functions,
    check_graph,
    in_order,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import onnx

# what it warns of is told by our errors; it sets up none itself
logging.getLogger("onnx_ir").addHandler(logging.NullHandler())

_ALIAS = "ai.onnx"  # another name of the empty domain


def load(path: Path, *, weights: bool = True) -> onnx.ModelProto:
    """Parse an ONNX file as a runtime would, whatever its graph.

    Args:
        path: the file.
        weights: whether to read external data too. It is read only from inside the file's folder,
            and is in memory afterwards.

    Raises:
        ArtefactError: missing, empty, broken, or with external data that is missing or outside the
            file's folder.
    """
    import onnx  # protobuf parsing only

    proto = _proto(read_bytes(path, "ONNX model"), str(path))
    if weights:
        folder = path.resolve().parent
        try:
            check_external_data(proto, folder)
            onnx.load_external_data_for_model(proto, str(folder))
        except ArtefactError:
            raise
        except Exception as error:  # many kinds: a name that no file can have, an offset, a length
            raise ArtefactError(
                f"{path} keeps tensors in other files that cannot be read: {first_line(error)}",
                hint="put them beside the model, under their own names",
            ) from error
    return proto


def is_ours(model: onnx.ModelProto | ir.Model) -> bool:
    """Whether edgeq wrote a model, so that a runtime is known to live through it."""
    return model.producer_name == "edgeq"


def read(path: Path) -> ir.Model:
    """Read an ONNX file that has to be a valid graph; its nodes come out in order.

    Raises:
        ArtefactError: see :func:`load`; or of another format, or no valid graph.
    """
    if detect(path) != "onnx":
        raise ArtefactError(f"{path} is not an ONNX file", hint="name an .onnx file")
    with all_stays():
        proto = load(path)
        check_graph(proto, str(path))
        _refuse_sparse(proto.graph, str(path))
        model = _deserialize(proto, str(path))
        if not in_order(proto.graph):
            _sort(model.graph, str(path))
    return model


def _refuse_sparse(graph: onnx.GraphProto, what: str) -> None:
    for tensor in graph.sparse_initializer:
        raise ArtefactError(
            f"{what} keeps {shown(tensor.values.name)} without its zeros, which is not read",
            hint="write the initialiser densely",
        )


def _sort(graph: ir.Graph, what: str) -> None:
    try:
        graph.sort()
    except ValueError as error:  # nodes of a subgraph may read what comes from it
        raise ArtefactError(
            f"{what} is no ONNX model: its nodes are part of a cycle through a subgraph",
            hint="it is damaged, or the tool that wrote it is at fault",
        ) from error


def parse(content: bytes, what: str) -> ir.Model:
    """A model from the bytes of a file that holds all its data itself.

    Raises:
        ArtefactError: they are no ONNX model.
    """
    return _deserialize(_proto(content, what), what)


def serialize(model: ir.Model) -> bytes:
    """A model as the bytes of a file.

    Raises:
        ArtefactError: it is larger than a file may be.
    """
    check_model_size(
        sum(_size_bytes(value.const_value) for value in model.graph.initializers.values()),
        "ONNX file",
    )
    with all_stays():
        return bytes(ir.serde.serialize_model(model).SerializeToString(deterministic=True))


@contextmanager
def all_stays() -> Iterator[None]:
    """Meanwhile Python does not look for objects to free among those of a graph.

    A long graph is a million objects, all of which stay; a third of the time goes into the search.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _size_bytes(tensor: ir.TensorProtocol | None) -> int:
    return 0 if tensor is None or tensor.dtype == ir.DataType.STRING else tensor.nbytes


def _proto(content: bytes, what: str) -> onnx.ModelProto:
    import onnx  # protobuf parsing only

    try:
        proto = _without_negative_sizes(_without_alias(onnx.load_model_from_string(content)))
    except Exception as error:  # protobuf raises many kinds on broken files
        raise _broken(what, error) from error
    check_functions(proto, what)
    return proto


def _without_alias(proto: onnx.ModelProto) -> onnx.ModelProto:
    """ONNX's own domain under one of its two names, the empty one."""
    for entry in proto.opset_import:
        if entry.domain == _ALIAS:
            entry.domain = ""
    for node in proto.graph.node:
        if node.domain == _ALIAS:
            node.domain = ""
    return proto


def _without_negative_sizes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Sizes of -1, by which old exporters mean any, as sizes that are not given."""
    graph = proto.graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_value == -1:
                size.Clear()
    return proto


def _deserialize(proto: onnx.ModelProto, what: str) -> ir.Model:
    try:
        model = ir.serde.deserialize_model(proto)
        # files of IR version 3 list each constant as an input too, which nobody feeds
        graph = model.graph
        graph.inputs[:] = [value for value in graph.inputs if not value.is_initializer()]
        for value in graph.initializers.values():
            if value.const_value is not None:
                # a size that does not fit the shape shows here
                value.const_value = _owned(value.const_value, value.shape)
    except Exception as error:  # onnx_ir raises many kinds on broken files
        raise _broken(what, error) from error
    return model


def _owned(tensor: ir.TensorProtocol, shape: ir.Shape | None) -> ir.TensorProtocol:
    """A tensor with its own numbers.

    One that reads a protobuf message keeps the whole file in memory, and copies it at each look.
    """
    numbers = tensor.numpy()
    if tensor.dtype == ir.DataType.STRING:
        return tensor
    notes = dict(tensor.metadata_props) or None
    return ir.Tensor(
        numbers.copy(),
        dtype=tensor.dtype,
        shape=shape,
        name=tensor.name,
        doc_string=tensor.doc_string,
        metadata_props=notes,
    )


def _broken(what: str, error: Exception) -> ArtefactError:
    return ArtefactError(
        f"{what} is no ONNX model: {first_line(error)}",
        hint="is it truncated, or another kind of file?",
    )
