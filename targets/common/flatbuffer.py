"""A TFLite file is looked through before an interpreter sees it.

LiteRT checks the structure of the FlatBuffer itself, and well. What it takes on trust are the
graph's own outputs and the grids: a zero or negative scale of an activation, or a missing one where
a kernel needs it, ends in an abort of the whole process, which no caller can catch. Both are
checked here, and, by walking there, the structure on the way.
"""

from __future__ import annotations

import json
import struct
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SCHEMAS = ("ai_edge_litert.schema_py_generated", "tensorflow.lite.python.schema_py_generated")
_QUANTIZED = {"UINT8", "INT8", "INT16"}
_HINT = "export it again; it is truncated or damaged"
# what reading out of bounds raises
BROKEN = (struct.error, IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError)


def check_model(content: bytes, path: Path) -> None:
    """Look through a TFLite model.

    A runtime that brings no schema (tflite-runtime) gets its files unchecked.

    Args:
        content: the file.
        path: its name, for messages.

    Raises:
        ArtefactError: truncated, damaged, or with a grid that an interpreter would abort on.
    """
    schema = _schema()
    if schema is None:
        return
    try:
        problem = next(_problems(schema, content), None)
    except BROKEN as error:
        raise ArtefactError(
            f"{path} is no whole TFLite model: {type(error).__name__} while reading its tables",
            hint=_HINT,
        ) from error
    if problem is not None:
        raise ArtefactError(f"{path} is no sound TFLite model: {problem}", hint=_HINT)


def axes_in(content: bytes) -> dict[str, tuple[int, ...]]:
    """For tensors that a file of ours does not store in the usual layout.

    The axis of the model at each dimension.

    Args:
        content: a file that :func:`check_model` passed.
    """
    try:
        stated = json.loads(_notes(content) or b"{}").get("axes", {})
        return {
            str(name): tuple(axes)
            for name, axes in stated.items()
            if sorted(axes) == list(range(len(axes)))
        }
    except BROKEN:  # another tool's notes: then the usual layouts are all there is to go by
        return {}


def channels_last(content: bytes) -> bool:
    """Whether a file's input takes images with their channels last.

    As a file of ours notes, else as TFLite's own operators want them.

    Args:
        content: a file that :func:`check_model` passed.
    """
    try:
        ends = json.loads(_notes(content) or b"{}")["io"]
        return next(iter(ends["axes"])) in ends["channels_last"]
    except (*BROKEN, StopIteration):
        return True


def is_ours(content: bytes) -> bool:
    """Whether edgeq wrote a file, so that an interpreter is known to live through it.

    Files of other tools can end the process that opens them, valid ones too.

    Args:
        content: a file that :func:`check_model` passed.
    """
    return _notes(content) is not None


def _notes(content: bytes) -> bytes | None:
    """What edgeq noted in a file that it wrote; None in others."""
    schema = _schema()
    if schema is None:
        return None
    try:
        model = schema.Model.GetRootAs(content, 0)
        entries = [model.Metadata(i) for i in range(model.MetadataLength())]
        notes = [
            model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
            for entry in entries
            if entry.Name() == b"edgeq"
        ]
        return notes[0] if notes else None
    except BROKEN:
        return None


def _schema() -> Any:
    for name in _SCHEMAS:
        try:
            return import_module(name)
        except ImportError:
            continue
    return None


def _problems(schema: Any, content: bytes) -> Iterator[str]:
    model, ours = schema.Model.GetRootAs(content, 0), is_ours(content)
    types = {
        number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)
    }
    if model.SubgraphsLength() == 0:
        yield "it holds no graph"
    for graph in (model.Subgraphs(i) for i in range(model.SubgraphsLength())):
        count = graph.TensorsLength()
        for name, indices in (("input", graph.InputsAsNumpy()), ("output", graph.OutputsAsNumpy())):
            yield from _out_of_range(f"the graph's {name}", indices, count, least=0)
        for i in range(graph.OperatorsLength()):
            yield from _operator_problems(model, graph, i, types, ours=ours)


def _operator_problems(
    model: Any, graph: Any, i: int, types: dict[int, str], *, ours: bool
) -> Iterator[str]:
    operator = graph.Operators(i)
    if operator.OpcodeIndex() >= model.OperatorCodesLength():
        yield f"operator {i} is of a kind that the file does not define"
    inputs, outputs = operator.InputsAsNumpy(), operator.OutputsAsNumpy()
    # -1: an optional input left out
    yield from _out_of_range(f"operator {i}", inputs, graph.TensorsLength(), least=-1)
    yield from _out_of_range(f"operator {i}", outputs, graph.TensorsLength(), least=0)
    for index in np.atleast_1d(outputs):
        tensor = graph.Tensors(int(index))
        if types[tensor.Type()] in _QUANTIZED:
            yield from _grid_problems(tensor, ours=ours)


def _grid_problems(tensor: Any, *, ours: bool) -> Iterator[str]:
    name = (tensor.Name() or b"").decode(errors="replace")
    grid = tensor.Quantization()
    if grid is None or grid.ScaleLength() == 0:
        if ours:  # others may mean plain integers
            yield f"the integer tensor {name!r} has no scale"
        return
    scales = grid.ScaleAsNumpy()
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        yield f"the integer tensor {name!r} has the scale {scales}"
    if grid.ZeroPointLength() not in (0, 1, grid.ScaleLength()):
        yield (
            f"the integer tensor {name!r} has {grid.ScaleLength()} scales and "
            f"{grid.ZeroPointLength()} zero points"
        )


def _out_of_range(what: str, indices: Any, count: int, *, least: int) -> Iterator[str]:
    indices = np.atleast_1d(indices)
    if ((indices < least) | (indices >= count)).any():
        yield f"{what} names a tensor that is not there"
