"""A TFLite file as a list of operators with their tensors, constants decoded."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.brief import brief
from edgeq.formats.tflite_schema import (
    ELEMENTS,
    METADATA_NAME,
    OPERATOR_NAMES,
    TYPE_NAMES,
    schema,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

_WHOLE = ("INT32", "INT64")
_MOVES = frozenset(
    ("CAST", "EXPAND_DIMS", "RESHAPE", "SLICE", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE")
)
# what reading tables out of bounds raises
BROKEN = (struct.error, IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError)


@dataclass(frozen=True, slots=True, eq=False)
class FileTensor:
    """A tensor of the file.

    Attributes:
        index: its number in the file.
        name: its name.
        kind: the member of ``TensorType``, such as ``INT8``.
        shape: as stored.
        scale: its steps; empty for a tensor without a grid.
        zero_point: the shape of ``scale``; files may write one for all scales.
        axis: the dimension that several scales go along.
        data: the content of a constant, int4 widened to int8; None for what is computed, or of a
            kind that is not decoded.
        variable: whether its content stays from one inference to the next.
        sparse: whether it is stored without its zeros; ``data`` is None then.
    """

    index: int
    name: str
    kind: str
    shape: tuple[int, ...]
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int
    data: NDArray[Any] | None
    variable: bool = False
    sparse: bool = False

    __repr__ = brief


@dataclass(frozen=True, slots=True, eq=False)
class FileOperator:
    """An operator of the file.

    Attributes:
        index: its place in the order of execution.
        name: the member of ``BuiltinOperator``, such as ``CONV_2D``.
        options: an object of the generated options classes, or None.
        inputs: its operands; None for one left out.
        outputs: its results; some operators, such as ``ASSIGN_VARIABLE``, have none.
    """

    index: int
    name: str
    options: Any
    inputs: tuple[FileTensor | None, ...]
    outputs: tuple[FileTensor, ...]

    __repr__ = brief

    @property
    def output(self) -> FileTensor:
        """Its first result; only for operators that have one."""
        return self.outputs[0]

    @property
    def title(self) -> str:
        """What to call it: by the name of its result, or by its number where it has none."""
        return self.outputs[0].name if self.outputs else f"operator {self.index}"


@dataclass(frozen=True, slots=True, eq=False)
class FileGraph:
    """A subgraph of a file.

    Attributes:
        operators: in order of execution.
        inputs: the tensors that are given.
        outputs: the tensors that are asked for.
        tensors: all of them, in the order of the file.
    """

    operators: tuple[FileOperator, ...]
    inputs: tuple[FileTensor, ...]
    outputs: tuple[FileTensor, ...]
    tensors: tuple[FileTensor, ...]

    __repr__ = brief


def graphs_of(content: bytes) -> tuple[FileGraph, ...]:
    """The subgraphs of a TFLite file: the main one, then those that its control flow runs."""
    model = schema.ModelT.InitFromPackedBuf(content)
    return tuple(_graph(model, graph) for graph in model.subgraphs)


def graph_of(content: bytes) -> FileGraph:
    """The first subgraph of a TFLite file."""
    model = schema.ModelT.InitFromPackedBuf(content)
    return _graph(model, model.subgraphs[0])


def notes_of(content: bytes) -> Mapping[str, Any] | None:
    """What edgeq noted of the making of a TFLite file.

    Empty where the note is none of edgeq's form, None for a file of another tool.
    """
    note = _note(content)
    if note is None:
        return None
    try:
        notes = json.loads(note)
    except ValueError:
        return {}
    return notes if isinstance(notes, dict) else {}


def is_ours(content: bytes) -> bool:
    """Whether edgeq wrote a file, so that an interpreter is known to live through it.

    Files of other tools can end the process that opens them, valid ones too.
    """
    return _note(content) is not None


def axes_in(content: bytes) -> dict[str, tuple[int, ...]]:
    """The axis of the model at each dimension, of tensors that a file of ours stores unusually."""
    try:
        stated = (notes_of(content) or {}).get("axes", {})
        return {
            str(name): tuple(axes)
            for name, axes in stated.items()
            if sorted(axes) == list(range(len(axes)))
        }
    except BROKEN:  # another tool's notes: then the usual layouts are all there is to go by
        return {}


def channels_last(content: bytes, name: str = "") -> bool:
    """Whether an input of a file, by default the first, takes images with their channels last.

    As a file of ours notes, else as TFLite's own operators want them.
    """
    try:
        ends = (notes_of(content) or {})["io"]
        return (name or next(iter(ends["axes"]))) in ends["channels_last"]
    except (*BROKEN, StopIteration):
        return True


def images_last(content: bytes) -> dict[str, bool]:
    """:func:`channels_last` of each input, by name; none of a file that cannot be read."""
    try:
        names = [tensor.name for tensor in graph_of(content).inputs]
    except BROKEN:
        return {}
    alone = len(names) == 1
    return {name: channels_last(content, "" if alone else name) for name in names}


def rows_picked(content: bytes) -> dict[str, int]:
    """How many rows the smallest table has that each input of whole numbers picks from, by name.

    Nothing of other inputs, nor of a file that cannot be read.
    """
    try:
        graph = graph_of(content)
        inputs = [each for each in graph.inputs if each.kind in _WHOLE]
        found = {each.name: list(_rows(graph, each)) for each in inputs}
    except BROKEN:
        return {}
    return {name: min(rows) for name, rows in found.items() if rows}


def _rows(graph: FileGraph, tensor: FileTensor) -> Iterator[int]:
    """The sizes of the tables that a tensor picks from, seen through what only moves it."""
    for operator in graph.operators:
        table, index = (*operator.inputs, None, None)[:2]
        if operator.name == "GATHER" and index is tensor and table is not None:
            if table.data is not None and not int(operator.options.axis or 0):
                yield table.shape[0]
        elif operator.name in _MOVES and table is tensor:
            for made in operator.outputs:
                yield from _rows(graph, made)


def _note(content: bytes) -> bytes | None:
    """The note of edgeq's in a file, read without unpacking the rest."""
    try:
        model = schema.Model.GetRootAs(content, 0)
        for entry in (model.Metadata(i) for i in range(model.MetadataLength())):
            if entry.Name() == METADATA_NAME.encode():
                return bytes(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    except BROKEN:
        pass
    return None


def operators_of(content: bytes) -> tuple[FileOperator, ...]:
    """The operators of the first subgraph of a TFLite file, in order of execution."""
    return graph_of(content).operators


def _graph(model: Any, graph: Any) -> FileGraph:
    tensors = tuple(_tensor(model, i, tensor) for i, tensor in enumerate(graph.tensors))
    operators = tuple(
        _operator(model, i, operator, tensors)
        for i, operator in enumerate(_listed(graph.operators))
    )
    inputs, outputs = (
        tuple(tensors[i] for i in _listed(ends)) for ends in (graph.inputs, graph.outputs)
    )
    return FileGraph(operators, inputs, outputs, tensors)


def _operator(model: Any, index: int, operator: Any, tensors: Sequence[FileTensor]) -> FileOperator:
    inputs = tuple(tensors[i] if i >= 0 else None for i in _listed(operator.inputs))
    outputs = tuple(tensors[i] for i in _listed(operator.outputs))
    return FileOperator(
        index,
        _name(model.operatorCodes[operator.opcodeIndex]),
        operator.builtinOptions,
        inputs,
        outputs,
    )


def _listed(values: Any) -> Any:
    """What the generated classes hold of a vector, which is None where the file has none."""
    return () if values is None else values


def _name(code: Any) -> str:
    return str(OPERATOR_NAMES[max(int(code.builtinCode), int(code.deprecatedBuiltinCode))])


def _tensor(model: Any, index: int, tensor: Any) -> FileTensor:
    grid = tensor.quantization
    scale = np.array([] if grid is None else _listed(grid.scale), np.float32)
    zero_point = np.array(
        [0] if grid is None or not len(_listed(grid.zeroPoint)) else grid.zeroPoint, np.int64
    )
    shape = tuple(int(size) for size in _listed(tensor.shape))
    sparse, kind = tensor.sparsity is not None, TYPE_NAMES[int(tensor.type)]
    return FileTensor(
        index,
        tensor.name.decode(errors="replace")
        if isinstance(tensor.name, bytes)
        else str(tensor.name or ""),
        kind,
        shape,
        scale,
        np.broadcast_to(zero_point, scale.shape) if zero_point.size == 1 else zero_point,
        0 if grid is None else int(grid.quantizedDimension),
        None if sparse else _data(model.buffers[tensor.buffer].data, kind, shape),
        bool(tensor.isVariable),
        sparse,
    )


def _data(stored: Any, kind: str, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """The content of a buffer.

    Runtimes take one of no bytes as none, so that its tensor is computed unless it is empty itself.
    """
    if (
        stored is None
        or kind not in (*ELEMENTS, "INT4")
        or (len(stored) == 0 and math.prod(shape) != 0)
    ):
        return None
    octets = np.asarray(stored, np.uint8)
    if kind == "INT4":  # two to a byte, the low half first
        halves = np.stack((octets << 4, octets), axis=-1).view(np.int8) >> 4
        return halves.reshape(-1)[: int(np.prod(shape))].reshape(shape)
    values: NDArray[Any] = octets.view(ELEMENTS[kind])
    return values.reshape(shape)
