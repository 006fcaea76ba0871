"""A TFLite file as a list of operators with their tensors, constants decoded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated

from edgeq.brief import brief

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

schema: Any = schema_py_generated  # generated and half typed, so taken as untyped
_NAMES = {number: name for name, number in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_KINDS = {number: name for name, number in vars(schema.TensorType).items() if not name.startswith("_")}
ELEMENTS: dict[int, Any] = {
    schema.TensorType.INT8: np.int8,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.INT16: np.int16,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
    schema.TensorType.FLOAT32: np.float32,
}
"""The element types of tensors that hold whole bytes, by member of ``TensorType``."""


@dataclass(frozen=True, slots=True, eq=False)
class FileTensor:
    """A tensor of the file.

    Attributes:
        index: its number in the file.
        name: its name.
        kind: the member of ``TensorType``, such as ``INT8``.
        shape: as stored.
        scale: its steps; empty for a tensor without a grid.
        zero_point: the shape of ``scale``.
        axis: the dimension that several scales go along.
        data: the content of a constant, int4 widened to int8; None for what is computed.
    """

    index: int
    name: str
    kind: str
    shape: tuple[int, ...]
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int
    data: NDArray[Any] | None

    __repr__ = brief


@dataclass(frozen=True, slots=True, eq=False)
class FileOperator:
    """An operator of the file.

    Attributes:
        name: the member of ``BuiltinOperator``, such as ``CONV_2D``.
        options: an object of the generated options classes, or None.
        inputs: its operands; None for one left out.
        output: its first result.
        outputs: all of them.
    """

    name: str
    options: Any
    inputs: tuple[FileTensor | None, ...]
    output: FileTensor
    outputs: tuple[FileTensor, ...]

    __repr__ = brief


@dataclass(frozen=True, slots=True, eq=False)
class FileGraph:
    """The first subgraph of a file.

    Attributes:
        operators: in order of execution.
        inputs: the tensors that are given.
        outputs: the tensors that are asked for.
    """

    operators: tuple[FileOperator, ...]
    inputs: tuple[FileTensor, ...]
    outputs: tuple[FileTensor, ...]

    __repr__ = brief


def graph_of(content: bytes) -> FileGraph:
    """The first subgraph of a TFLite file."""
    model = schema.ModelT.InitFromPackedBuf(content)
    graph = model.subgraphs[0]
    tensors = [_tensor(model, i, tensor) for i, tensor in enumerate(graph.tensors)]
    operators = (_operator(model, operator, tensors) for operator in graph.operators)
    return FileGraph(tuple(operators), tuple(tensors[i] for i in graph.inputs), tuple(tensors[i] for i in graph.outputs))


def notes_of(content: bytes) -> Mapping[str, Any] | None:
    """What edgeq noted of the making of a TFLite file; None for a file of another tool."""
    model = schema.ModelT.InitFromPackedBuf(content)
    notes = [model.buffers[entry.buffer].data for entry in model.metadata or () if entry.name in (b"edgeq", "edgeq")]
    found: Mapping[str, Any] | None = json.loads(bytes(notes[0])) if notes else None
    return found


def operators_of(content: bytes) -> tuple[FileOperator, ...]:
    """The operators of the first subgraph of a TFLite file, in order of execution."""
    return graph_of(content).operators


def _operator(model: Any, operator: Any, tensors: Sequence[FileTensor]) -> FileOperator:
    inputs = () if operator.inputs is None else operator.inputs
    outputs = tuple(tensors[i] for i in operator.outputs)
    name = _name(model.operatorCodes[operator.opcodeIndex])
    return FileOperator(name, operator.builtinOptions, tuple(tensors[i] if i >= 0 else None for i in inputs), outputs[0], outputs)


def _name(code: Any) -> str:
    return str(_NAMES[max(int(code.builtinCode), int(code.deprecatedBuiltinCode))])


def _tensor(model: Any, index: int, tensor: Any) -> FileTensor:
    grid = tensor.quantization
    scale, zero_point = ([], []) if grid is None or grid.scale is None else (grid.scale, grid.zeroPoint)
    shape = () if tensor.shape is None else tuple(int(size) for size in tensor.shape)
    return FileTensor(
        index,
        tensor.name.decode() if isinstance(tensor.name, bytes) else str(tensor.name),
        _KINDS[int(tensor.type)],
        shape,
        np.array(scale, np.float32),
        np.array(zero_point, np.int64),
        0 if grid is None else int(grid.quantizedDimension),
        _data(model.buffers[tensor.buffer].data, tensor.type, shape),
    )


def _data(stored: Any, kind: int, shape: tuple[int, ...]) -> NDArray[Any] | None:
    if stored is None or kind not in (*ELEMENTS, schema.TensorType.INT4):
        return None
    octets = np.asarray(stored, np.uint8)
    if kind == schema.TensorType.INT4:  # two to a byte, the low half first
        halves = np.stack((octets << 4, octets), axis=-1).view(np.int8) >> 4
        return halves.reshape(-1)[: int(np.prod(shape))].reshape(shape)
    return np.frombuffer(octets.tobytes(), ELEMENTS[kind]).reshape(shape)
