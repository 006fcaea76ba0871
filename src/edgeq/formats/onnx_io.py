"""ONNX files in and out: the only place that parses or writes one.

A file is read within limits, its external data only from its own folder. What may be wrong with the
graph in it is told by :mod:`edgeq.formats.onnx_validation`.
"""

from __future__ import annotations

import gc
import logging
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.errors import ArtefactError, first_line, shown
from edgeq.files import check_model_size, read_bytes
from edgeq.formats.artefact import detect
from edgeq.formats.onnx_validation import (
    check_external_data,
    check_functions,
    check_graph,
    check_texts,
    graphs_in,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import onnx

# what it warns of is told by our errors; it sets up none itself
logging.getLogger("onnx_ir").addHandler(logging.NullHandler())

_ALIAS = "ai.onnx"  # another name of the empty domain
_MOST_WRITTEN_OUT = 2**26  # numbers, of an initialiser that leaves out its zeros


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
            if check_external_data(proto, folder):
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
        ordered = check_graph(proto, str(path))
        model = _deserialize(proto, str(path))
        if not ordered:
            _sort(model.graph, str(path))
    return model


def _sort(graph: ir.Graph, what: str) -> None:
    try:
        graph.sort()
    except ValueError as error:  # nodes of a subgraph may read what comes from it
        raise ArtefactError(
            f"{what} is no valid ONNX model: its nodes are part of a cycle through a subgraph",
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
    check_texts(proto, what)
    check_functions(proto, what)
    for graph in graphs_in(proto):
        _densify(graph, what)
    return proto


def _densify(graph: onnx.GraphProto, what: str) -> None:
    """Initialisers that leave out their zeros, with them, as runtimes write them out first."""
    for sparse in graph.sparse_initializer:
        name = shown(sparse.values.name)
        try:
            graph.initializer.append(_dense(sparse))
        except Exception as error:  # numpy raises many kinds on broken tensors
            raise ArtefactError(
                f"{what} keeps {name} without its zeros, and cannot be read: {first_line(error)}",
                hint="write the initialiser densely",
            ) from error
    del graph.sparse_initializer[:]


def _dense(sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    from onnx import numpy_helper

    parts = (sparse.values, sparse.indices)
    if any(part.data_location == part.EXTERNAL for part in parts):
        raise ValueError("its numbers lie in another file")
    values, places = map(numpy_helper.to_array, parts)
    shape = tuple(sparse.dims)
    if min(shape, default=1) < 0 or math.prod(shape) > _MOST_WRITTEN_OUT:
        raise ValueError(f"its shape is {shape}")
    whole = np.zeros(math.prod(shape), values.dtype)
    flat = np.ravel_multi_index(tuple(places.T), shape) if places.ndim == 2 else places
    if values.shape != flat.shape or (flat.size and not 0 <= flat.min() <= flat.max() < whole.size):
        raise ValueError(f"its places do not fit its shape {shape}")
    whole[flat] = values
    dense: onnx.TensorProto = numpy_helper.from_array(whole.reshape(shape), sparse.values.name)
    return dense


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
