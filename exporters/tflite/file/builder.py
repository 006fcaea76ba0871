"""The FlatBuffer side of a TFLite file: tensors, buffers, operator codes and the bytes.

It knows nothing of ONNX.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np

from edgeq.brief import brief
from edgeq.errors import ArtefactError
from edgeq.exporters.tflite.file.versions import least_version, oldest_runtime
from edgeq.files import check_model_size
from edgeq.formats.dialect import TFLITE
from edgeq.formats.tflite_schema import METADATA_NAME, OPERATOR_NAMES, TYPE_NAMES, schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.formats.dialect import Dialect

FILE_IDENTIFIER = b"TFL3"
_STRUCTURE = 320  # bytes that a tensor or an operator takes at most, its grid apart
_BYTES_A_SCALE = 12  # with its zero point
# bytes from which on equal constants are stored once, such as the matrices of a graph that every
# layer reads
_LARGE = 1 << 20
_OTHER_RUNTIME = "write it for a runtime that has one: edgeq export --to tflite"
_LACKING = {
    "INT16": f"quantise what it reads and writes to 8 bits; or {_OTHER_RUNTIME}",
    "INT64": f"put a Cast to int32 behind it in the model; or {_OTHER_RUNTIME}",
}
"""What helps where there is no kernel for an element type."""
ALIGNMENT = 16  # what runtimes that read weights in place ask of every buffer

TENSOR_TYPES = {
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.uint8): schema.TensorType.UINT8,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int64): schema.TensorType.INT64,
    np.dtype(np.float32): schema.TensorType.FLOAT32,
}


class MissingKernel(ArtefactError):
    """An operator that the runtime of the file has no kernel for."""


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer whose first byte is aligned in the file; the generated class aligns to one byte."""

    def Pack(self, builder: Any) -> int:  # noqa: N802  # the generated base class calls it so
        payload = np.ascontiguousarray(self.data).reshape(-1).view(np.uint8)
        builder.StartVector(1, payload.size, ALIGNMENT)
        builder.head -= payload.size
        builder.Bytes[builder.head : builder.head + payload.size] = payload.data
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))


@dataclass(frozen=True, slots=True)
class StoredGrid:
    """Scale and zero point as TFLite stores them; ``axis`` is for more than one scale."""

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int = 0

    __repr__ = brief

    @classmethod
    def of(
        cls, scale: float | np.floating | NDArray[np.float32], zero_point: int = 0, axis: int = 0
    ) -> StoredGrid:
        """A grid from plain numbers, one zero point for all scales."""
        steps = np.atleast_1d(np.asarray(scale, np.float32))
        return cls(steps, np.full(steps.shape, zero_point, np.int64), axis)


@dataclass(slots=True)
class Builder:
    """Collects the parts of one model.

    Attributes:
        dynamic_batch: whether activations are marked so that the first dimension may be resized.
        dialect: what the runtime has kernels for.
    """

    dynamic_batch: bool = False
    dialect: Dialect = TFLITE
    _tensors: list[Any] = field(default_factory=list)
    # number 0 is empty by convention
    _buffers: list[Any] = field(default_factory=lambda: [schema.BufferT()])
    _codes: dict[tuple[int, int], int] = field(default_factory=dict)
    _operators: list[Any] = field(default_factory=list)
    _constants: dict[tuple[int, ...], int] = field(default_factory=dict)
    _large: dict[bytes, int] = field(default_factory=dict)

    __repr__ = brief

    def activation(
        self,
        name: str,
        shape: Sequence[int],
        grid: StoredGrid | None,
        dtype: type[np.generic] = np.int8,
    ) -> int:
        """Add a computed tensor; returns its index."""
        tensor = self._tensor(name, shape, np.dtype(dtype), grid)
        if self.dynamic_batch and shape:
            tensor.shapeSignature = np.array([-1, *shape[1:]], np.int32)
        return len(self._tensors) - 1

    def like(self, index: int, name: str, shape: Sequence[int]) -> int:
        """Add a computed tensor of another's element type and grid; returns its index."""
        other = self._tensors[index]
        self.activation(name, shape, None)
        self._tensors[-1].type = other.type
        self._tensors[-1].quantization = other.quantization
        return len(self._tensors) - 1

    def constant(
        self,
        name: str,
        values: NDArray[np.generic],
        grid: StoredGrid | None = None,
        *,
        packed: bool = False,
    ) -> int:
        """Add a tensor with its content; returns its index.

        Args:
            name: its name.
            values: its content.
            grid: the grid of integers.
            packed: whether to store int8 values of -8..7 as int4, two a byte.
        """
        tensor = self._tensor(name, values.shape, values.dtype, grid)
        tensor.buffer = self._shared_buffer(two_a_byte(values) if packed else values)
        if packed:
            tensor.type = schema.TensorType.INT4
        return len(self._tensors) - 1

    def mark(self) -> tuple[int, int, int, int]:
        """How much there is now, for :meth:`rewind`."""
        return len(self._tensors), len(self._buffers), len(self._operators), len(self._codes)

    def rewind(self, mark: tuple[int, int, int, int]) -> None:
        """Drop all that was added since a mark."""
        tensors, buffers, operators, codes = mark
        del self._tensors[tensors:], self._buffers[buffers:], self._operators[operators:]
        self._codes = dict(list(self._codes.items())[:codes])
        self._constants = {key: index for key, index in self._constants.items() if index < tensors}
        self._large = {key: index for key, index in self._large.items() if index < buffers}

    def name(self, index: int) -> str:
        """The name of a tensor."""
        return str(self._tensors[index].name)

    def numbers(self, values: Sequence[int]) -> int:
        """An int32 vector that parametrises operators; one tensor for equal ones."""
        key = tuple(values)
        if key not in self._constants:
            self._constants[key] = self.constant(
                f"~numbers{len(self._constants)}", np.array(values, np.int32)
            )
        return self._constants[key]

    def has_kernel(self, builtin: int, *dtypes: str) -> bool:
        """Whether the runtime has a kernel for an operator, on tensors of some element types.

        Args:
            builtin: a ``BuiltinOperator``.
            dtypes: numpy's names.
        """
        name = OPERATOR_NAMES[builtin]
        return not any((name, dtype.upper()) in self.dialect.lacks for dtype in ("", *dtypes))

    def operator(
        self,
        builtin: int,
        version: int,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: object = None,
    ) -> None:
        """Append an operator.

        Args:
            builtin: a ``BuiltinOperator``.
            version: the smallest version of the operator with int8 tensors that has what is used;
                other types raise it.
            inputs: tensor indices.
            outputs: tensor indices.
            options: an object of the generated options classes, such as ``Conv2DOptionsT``; None
                for no options.

        Raises:
            MissingKernel: the runtime that the file is for has none for it.
        """
        types = [self._tensors[index].type for index in (*inputs, *outputs) if index >= 0]
        self._require_kernel(builtin, types, outputs)
        version = max(version, least_version(builtin, types))
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.setdefault((builtin, version), len(self._codes))
        operator.inputs = np.array(inputs, np.int32)
        operator.outputs = np.array(outputs, np.int32)
        if options is not None:
            operator.builtinOptionsType = getattr(
                schema.BuiltinOptions, type(options).__name__.removesuffix("T")
            )
            operator.builtinOptions = options
        self._operators.append(operator)

    def _require_kernel(self, builtin: int, types: Sequence[int], outputs: Sequence[int]) -> None:
        """Let pass what the runtime has a kernel for."""
        names = [TYPE_NAMES[kind] for kind in types]
        lacks = self.dialect.lacks
        lacking = [name for name in ("", *names) if (OPERATOR_NAMES[builtin], name) in lacks]
        if lacking:
            kernel = OPERATOR_NAMES[builtin] + (f" of {lacking[0]}" if lacking[0] else "")
            raise MissingKernel(
                f"the runtime that the file is for has no kernel for {kernel}, "
                f"which would compute {self.name(outputs[0])!r}",
                hint=_LACKING.get(lacking[0], _OTHER_RUNTIME),
            )

    def open_sizes(self, shape: Sequence[int]) -> list[int]:
        """The sizes of an activation, an open batch as -1."""
        is_open = self.dynamic_batch and len(shape) > 0 and shape[0] == 1
        return [-1, *shape[1:]] if is_open else list(shape)

    def reshape(self, source: int, target: int, sizes: Sequence[int]) -> None:
        """Append a RESHAPE.

        Args:
            source: the index of what is reshaped.
            target: the index of the result.
            sizes: of the result; a negative one is what the others leave.
        """
        wanted = [max(size, -1) for size in sizes]
        options = schema.ReshapeOptionsT()
        options.newShape = np.array(wanted, np.int32)
        reshape = schema.BuiltinOperator.RESHAPE
        self.operator(reshape, 1, [source, self.numbers(wanted)], [target], options)

    def finish(
        self,
        inputs: Sequence[int],
        outputs: Sequence[int],
        description: str,
        metadata: Mapping[str, object],
    ) -> bytes:
        """The file.

        Args:
            inputs: tensor indices of the model's inputs.
            outputs: tensor indices of its outputs.
            description: one line for people.
            metadata: what the file says of its making; must be JSON.

        Raises:
            ArtefactError: the model is larger than a file may be.
        """
        graph = schema.SubGraphT()
        graph.tensors, graph.operators, graph.name = self._tensors, self._operators, "main"
        graph.inputs, graph.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        model = schema.ModelT()
        model.version, model.description, model.subgraphs = 3, description, [graph]
        model.operatorCodes = [_operator_code(*key) for key in self._codes]
        model.metadata = [
            self._metadata(
                "min_runtime_version", oldest_runtime(self._codes).encode().ljust(16, b"\0")
            ),
            self._metadata(METADATA_NAME, json.dumps(metadata).encode()),
        ]
        model.buffers = self._buffers
        size = self._size()
        check_model_size(size, "TFLite file")
        return _packed(model, size)

    def _size(self) -> int:
        """A little more than the file will have.

        One that turns out too small is doubled, old and new in memory at once.
        """
        payload = sum(buffer.data.nbytes + ALIGNMENT for buffer in self._buffers[1:])
        grids = sum(
            _BYTES_A_SCALE * len(tensor.quantization.scale)
            for tensor in self._tensors
            if tensor.quantization is not None
        )
        return int(
            payload + grids + (len(self._tensors) + len(self._operators)) * _STRUCTURE + (1 << 14)
        )

    def _tensor(
        self, name: str, shape: Sequence[int], dtype: np.dtype[Any], grid: StoredGrid | None
    ) -> Any:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = (
            name,
            np.array(shape, np.int32),
            TENSOR_TYPES[dtype],
        )
        tensor.hasRank = True
        if grid is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = grid.scale, grid.zero_point
            tensor.quantization.quantizedDimension = grid.axis
        self._tensors.append(tensor)
        return tensor

    def _buffer(self, values: NDArray[np.generic]) -> int:
        buffer = _AlignedBuffer()
        # put in order when it is packed, so that only one tensor is in memory twice
        buffer.data = values
        self._buffers.append(buffer)
        return len(self._buffers) - 1

    def _shared_buffer(self, values: NDArray[np.generic]) -> int:
        """A buffer of its own for what is small, one for all that is equal and large."""
        if values.nbytes < _LARGE:
            return self._buffer(values)
        key = hashlib.sha256(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data).digest()
        if key not in self._large:
            self._large[key] = self._buffer(values)
        return self._large[key]

    def _metadata(self, name: str, content: bytes) -> Any:
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, self._buffer(np.frombuffer(content, np.uint8))
        return entry


def _packed(model: Any, size: int) -> bytes:
    """The file of a model, which is in memory once.

    Packed from the end of a buffer that becomes the bytes returned.

    Args:
        model: the generated class's object.
        size: the bytes that the file takes at most; where it takes more, it is in memory twice.
    """
    buffer = io.BytesIO()
    buffer.seek(size - 1)
    buffer.write(b"\0")
    builder: Any = flatbuffers.Builder(0)  # it asks for a bytearray, and writes into any buffer
    builder.Bytes = view = buffer.getbuffer()
    builder.head = size
    builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
    if builder.Bytes is not view:
        return bytes(memoryview(builder.Bytes)[builder.Head() :])
    length = size - builder.Head()
    view[:length] = view[builder.Head() :]
    builder.Bytes = b""
    view.release()
    buffer.truncate(length)
    return buffer.getvalue()


def two_a_byte(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Integers of -8..7 as int4, the first of each pair in the low half of the byte."""
    padded = np.zeros(values.size + values.size % 2, np.uint8)
    padded[: values.size] = values.reshape(-1).astype(np.uint8) & np.uint8(0xF)
    packed: NDArray[np.uint8] = padded[0::2] | padded[1::2] << np.uint8(4)
    return packed


def _operator_code(builtin: int, version: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode, code.version = builtin, version
    # what old readers look at
    code.deprecatedBuiltinCode = min(
        builtin, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES
    )
    return code
