"""A TFLite file as a list of operators with their tensors, constants decoded."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated

from edgeq.brief import brief

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

schema: Any = schema_py_generated  # generated and half typed, so taken as untyped
_NAMES = {
    number: name
    for name, number in vars(schema.BuiltinOperator).items()
    if not name.startswith("_")
}
_KINDS = {
    number: name for name, number in vars(schema.TensorType).items() if not name.startswith("_")
}
ELEMENTS: dict[int, Any] = {
    schema.TensorType.INT8: np.int8,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.INT16: np.int16,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT64: np.float64,
    schema.TensorType.BOOL: np.bool_,
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
    """

    operators: tuple[FileOperator, ...]
    inputs: tuple[FileTensor, ...]
    outputs: tuple[FileTensor, ...]

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
    """What edgeq noted of the making of a TFLite file; None for a file of another tool."""
    model = schema.ModelT.InitFromPackedBuf(content)
    notes = [
        model.buffers[entry.buffer].data
        for entry in model.metadata or ()
        if entry.name in (b"edgeq", "edgeq")
    ]
    found: Mapping[str, Any] | None = json.loads(bytes(notes[0])) if notes else None
    return found


def operators_of(content: bytes) -> tuple[FileOperator, ...]:
    """The operators of the first subgraph of a TFLite file, in order of execution."""
    return graph_of(content).operators


def _graph(model: Any, graph: Any) -> FileGraph:
    tensors = [_tensor(model, i, tensor) for i, tensor in enumerate(graph.tensors)]
    operators = tuple(
        _operator(model, i, operator, tensors)
        for i, operator in enumerate(_listed(graph.operators))
    )
    return FileGraph(
        operators,
        *(tuple(tensors[i] for i in _listed(ends)) for ends in (graph.inputs, graph.outputs)),
    )


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
    return str(_NAMES[max(int(code.builtinCode), int(code.deprecatedBuiltinCode))])


def _tensor(model: Any, index: int, tensor: Any) -> FileTensor:
    grid = tensor.quantization
    scale = np.array([] if grid is None else _listed(grid.scale), np.float32)
    zero_point = np.array(
        [0] if grid is None or not len(_listed(grid.zeroPoint)) else grid.zeroPoint, np.int64
    )
    shape = tuple(int(size) for size in _listed(tensor.shape))
    sparse = tensor.sparsity is not None
    return FileTensor(
        index,
        tensor.name.decode(errors="replace")
        if isinstance(tensor.name, bytes)
        else str(tensor.name or ""),
        _KINDS[int(tensor.type)],
        shape,
        scale,
        np.broadcast_to(zero_point, scale.shape) if zero_point.size == 1 else zero_point,
        0 if grid is None else int(grid.quantizedDimension),
        None if sparse else _data(model.buffers[tensor.buffer].data, tensor.type, shape),
        bool(tensor.isVariable),
        sparse,
    )


def _data(stored: Any, kind: int, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """The content of a buffer.

    Runtimes take one of no bytes as none, so that its tensor is computed unless it is empty itself.
    """
    if (
        stored is None
        or kind not in (*ELEMENTS, schema.TensorType.INT4)
        or (len(stored) == 0 and math.prod(shape) != 0)
    ):
        return None
    octets = np.asarray(stored, np.uint8)
    if kind == schema.TensorType.INT4:  # two to a byte, the low half first
        halves = np.stack((octets << 4, octets), axis=-1).view(np.int8) >> 4
        return halves.reshape(-1)[: int(np.prod(shape))].reshape(shape)
    return np.frombuffer(octets.tobytes(), ELEMENTS[kind]).reshape(shape)
