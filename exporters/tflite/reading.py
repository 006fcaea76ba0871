"""Both sides of the parity report of a TFLite file.

What it has to hold, and what its bytes do hold.

The reader knows the file format and nothing of the code that writes it. It takes weights from the
operators that use them and turns them back into the ONNX layout by the operator code, as a runtime
would understand them.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.exporter import Transposes
from edgeq.exporters.parity import Numbers, centered_of, numbers_of
from edgeq.exporters.tflite.expected_values import as_written, derived_numbers, is_plain
from edgeq.exporters.tflite.file.builder import METADATA_NAME
from edgeq.exporters.tflite.file.schema import schema
from edgeq.exporters.tflite.storage import constant_shift
from edgeq.formats.tflite_file import ELEMENTS
from edgeq.qdq.ir import QdqConstant, QdqTensor

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.exporters.tflite.storage import Storage
    from edgeq.qdq.ir import QdqGraph, QdqOp

_TO_ONNX: dict[int, tuple[int, ...]] = {
    schema.BuiltinOperator.CONV_2D: (0, 3, 1, 2),  # OHWI
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: (3, 0, 1, 2),  # 1HWO
    schema.BuiltinOperator.FULLY_CONNECTED: (0, 1),  # (out, in)
    schema.BuiltinOperator.TRANSPOSE_CONV: (3, 0, 1, 2),  # OHWI, and ONNX has IOHW
}
_CHANNEL_DIMENSION = {
    schema.BuiltinOperator.CONV_2D: 0,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: 3,
    schema.BuiltinOperator.FULLY_CONNECTED: 0,
    schema.BuiltinOperator.TRANSPOSE_CONV: 0,
}
_NHWC = (0, 2, 3, 1)
_BIAS_INPUT = {schema.BuiltinOperator.TRANSPOSE_CONV: 3}
# what a later operator clamps, crops or gives another shape
_VIEWS = ("~unbounded", "~uncropped", "~image")
_ACTIVATIONS = (schema.TensorType.INT8, schema.TensorType.INT16)
_WEIGHTED = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
_BINARY = frozenset(
    getattr(schema.BuiltinOperator, name) for name in ("ADD", "SUB", "MUL", "PRELU", "BATCH_MATMUL")
)


def expected_numbers(
    graph: QdqGraph, storages: Mapping[str, Storage], in_float: Container[str] = ()
) -> list[Numbers]:
    """The numbers of a QDQ model as TFLite stores them.

    Zero points of activations shifted, those of weights zero.

    Args:
        graph: the model.
        storages: of its tensors.
        in_float: names of the results of operators that the file computes in float, whose constants
            are no integers there.
    """
    owners = {
        f"{op.output.name}/{i}": op
        for op in graph.ops
        for i, o in enumerate(op.inputs)
        if isinstance(o, QdqConstant)
    }
    expected = [
        numbers
        for op in graph.ops
        if op.output.name not in in_float
        for numbers in _absent_bias(op)
    ]
    for numbers in numbers_of(graph):
        op = owners.get(numbers.key)
        if op is not None and (op.output.name in in_float or op.op_type == "ScatterElements"):
            continue  # what is scattered onto are zeros, which the file does not hold
        if op is None:
            expected.append(
                replace(numbers, zero_point=numbers.zero_point + storages[numbers.key].shift)
            )
        elif op.op_type in ("Add", "Sub", "Mul", "PRelu") or (
            op.op_type == "MatMul" and not _is_dense(op)
        ):
            constant = op.inputs[int(numbers.key.rpartition("/")[2])]
            shift = (
                constant_shift(constant, storages[op.output.name])
                if isinstance(constant, QdqConstant)
                else 0
            )
            expected.append(
                replace(
                    numbers,
                    zero_point=numbers.zero_point + shift,
                    centered=_squeezed(numbers.centered),
                )
            )
        else:
            expected.append(
                _weights_in_onnx_order(
                    as_written(op, numbers),
                    op.output.shape[1 if op.op_type.startswith("Conv") else -1],
                    transposed=op.op_type == "MatMul"
                    or (op.op_type == "Gemm" and not op.attributes.get("transB")),
                )
            )
    return expected


def expected_in(
    graph: QdqGraph,
    storages: Mapping[str, Storage],
    found: Mapping[str, Numbers],
    in_float: Container[str] = (),
) -> list[Numbers]:
    """Everything a file must hold, given what it does.

    The model's numbers, what follows from them, and the grids of helpers.
    """
    known = expected_numbers(graph, storages, in_float)
    derived = [
        numbers
        for numbers in derived_numbers(graph, storages, found)
        if numbers.key.partition("~")[0] not in in_float
    ]
    fixed = {numbers.key for numbers in derived}
    return (
        known
        + derived
        + with_helpers(known, {key: numbers for key, numbers in found.items() if key not in fixed})[
            len(known) :
        ]
    )


def with_helpers(expected: list[Numbers], found: Mapping[str, Numbers]) -> list[Numbers]:
    """The expected numbers, and for each helper in the file, as a padded copy is, that it has the grid of its tensor."""
    grids = {numbers.key: numbers for numbers in expected if numbers.kind == "activation"}
    helpers = {
        key: _helped(key, grids)
        for key in found
        if key not in grids and found[key].kind == "activation"
    }
    return expected + [replace(grids[owner], key=key) for key, owner in helpers.items() if owner]


def _helped(key: str, grids: Mapping[str, Numbers]) -> str:
    owner = key
    while owner and owner not in grids:
        owner = owner.rpartition("~")[0]
    return owner


def _absent_bias(op: QdqOp) -> Iterator[Numbers]:
    """What a file must hold for an operator without bias.

    Zeros, for runtimes that want the input to be there.
    """
    source, weights, bias = (*op.inputs, None, None, None)[:3]
    if (
        op.op_type not in _WEIGHTED
        or bias is not None
        or (op.op_type == "MatMul" and not _is_dense(op))
    ):
        return
    if (
        isinstance(source, QdqTensor)
        and isinstance(weights, QdqConstant)
        and weights.params is not None
    ):
        scale = np.atleast_1d(weights.params.scale * source.scale)
        if is_plain(op) and scale.size > 1:
            scale = np.concatenate([scale] * op.integer("group", 1))
        zeros = np.zeros(op.output.shape[1 if op.op_type.startswith("Conv") else -1], np.int64)
        yield Numbers(f"{op.output.name}/2", "bias", scale, np.zeros(scale.shape, np.int64), zeros)


def _weights_in_onnx_order(numbers: Numbers, channels: int, *, transposed: bool) -> Numbers:
    """Weights with the output channels first.

    Biases as one vector, one for all of them said for each.
    """
    centered = numbers.centered
    if centered is not None and numbers.kind == "bias":
        centered = (
            np.broadcast_to(centered.reshape(-1), channels)
            if centered.size == 1
            else centered.reshape(-1)
        )
    elif centered is not None and transposed:
        centered = centered.T
    return replace(numbers, zero_point=np.zeros_like(numbers.zero_point), centered=centered)


def _is_dense(op: QdqOp) -> bool:
    """Whether a MatMul multiplies an activation by a constant matrix."""
    source, weights = op.inputs[:2]
    return (
        isinstance(source, QdqTensor)
        and isinstance(weights, QdqConstant)
        and weights.values.ndim == 2
    )


def _squeezed(centered: NDArray[np.generic] | None) -> NDArray[np.generic] | None:
    return None if centered is None else centered.squeeze()


def stored_numbers(content: bytes) -> dict[str, Numbers]:
    """Every quantised tensor of a TFLite file, by the keys of :func:`edgeq.exporters.parity.numbers_of`.

    Raises:
        ArtefactError: the bytes are no TFLite file.
    """
    return numbers_in(unpacked(content))


def unpacked(content: bytes) -> Any:
    """The generated class's object of a file.

    Raises:
        ArtefactError: the bytes are no TFLite file.
    """
    if content[4:8] != b"TFL3":
        raise ArtefactError("the bytes are not a TFLite file", hint="write the file again")
    return schema.ModelT.InitFromPackedBuf(content)


def numbers_in(model: Any) -> dict[str, Numbers]:
    """As :func:`stored_numbers`, of a file that is unpacked already."""
    graph, axes = model.subgraphs[0], _axes(model)
    found = {numbers.key: numbers for tensor in graph.tensors for numbers in _activation(tensor)}
    for operator in graph.operators:
        builtin = _builtin(model.operatorCodes[operator.opcodeIndex])
        for numbers in _operands(model, graph.tensors, operator, builtin, axes):
            found[numbers.key] = numbers
    return found


def transposes_in(model: Any) -> Transposes:
    """The TRANSPOSE operators of a TFLite file that is unpacked, and the bytes that they write in one inference of batch 1."""
    tensors = model.subgraphs[0].tensors
    moved = [
        tensors[operator.outputs[0]]
        for operator in model.subgraphs[0].operators
        if _builtin(model.operatorCodes[operator.opcodeIndex]) == schema.BuiltinOperator.TRANSPOSE
    ]
    return Transposes(
        len(moved),
        sum(
            math.prod(map(int, tensor.shape)) * np.dtype(ELEMENTS[tensor.type]).itemsize
            for tensor in moved
        ),
    )


def stored_floats(content: bytes) -> dict[str, NDArray[np.float32]]:
    """Weights (``<output>/1``, in the ONNX layout) and biases (``<output>/2``) of a float TFLite file."""
    model = schema.ModelT.InitFromPackedBuf(content)
    tensors = model.subgraphs[0].tensors
    found: dict[str, NDArray[np.float32]] = {}
    for operator in model.subgraphs[0].operators:
        builtin = _builtin(model.operatorCodes[operator.opcodeIndex])
        if builtin in _TO_ONNX:
            owner = _name(tensors[operator.outputs[0]])
            found[f"{owner}/1"] = _floats(model, tensors[operator.inputs[1]]).transpose(
                _TO_ONNX[builtin]
            )
            found[f"{owner}/2"] = _floats(model, tensors[operator.inputs[2]])
    return found


def _builtin(code: Any) -> int:
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def _name(tensor: Any) -> str:
    return tensor.name.decode() if isinstance(tensor.name, bytes) else str(tensor.name)


def _activation(tensor: Any) -> Iterator[Numbers]:
    if (
        tensor.quantization is not None
        and tensor.quantization.scale is not None
        and tensor.type in _ACTIVATIONS
    ):
        yield Numbers(_name(tensor), "activation", *_grid(tensor))


def _grid(tensor: Any) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    scale = np.asarray(tensor.quantization.scale, np.float32)
    return scale, np.asarray(tensor.quantization.zeroPoint, np.int64)


def _axes(model: Any) -> Mapping[str, Sequence[int]]:
    """The order of the axes of tensors, where it is another than readers take for granted, as the file's note says."""
    notes = [entry for entry in model.metadata or () if entry.name == METADATA_NAME.encode()]
    found: Mapping[str, Sequence[int]] = (
        json.loads(bytes(model.buffers[notes[0].buffer].data))["axes"] if notes else {}
    )
    return found


def _operands(
    model: Any,
    tensors: Sequence[Any],
    operator: Any,
    builtin: int,
    axes: Mapping[str, Sequence[int]],
) -> Iterator[Numbers]:
    owner = _name(tensors[operator.outputs[0]])
    for view in _VIEWS:
        owner = owner.removesuffix(view)
    if builtin in _TO_ONNX:
        weights, bias = (
            tensors[operator.inputs[1]],
            tensors[operator.inputs[_BIAS_INPUT.get(builtin, 2)]],
        )
        if not _on_a_grid(weights):
            return
        scale, zero = _grid(weights)
        if (
            scale.size > 1
            and weights.quantization.quantizedDimension != _CHANNEL_DIMENSION[builtin]
        ):
            scale = scale[:0]  # scales on the wrong axis are not the scales that the model means
        yield Numbers(
            f"{owner}/1",
            "weight",
            scale,
            zero,
            _stored(model, weights).transpose(_TO_ONNX[builtin]),
        )
        yield Numbers(f"{owner}/2", "bias", *_grid(bias), _stored(model, bias))
    elif builtin in _BINARY:
        for position, index in enumerate(operator.inputs):
            if model.buffers[tensors[index].buffer].data is not None and _on_a_grid(tensors[index]):
                images = builtin != schema.BuiltinOperator.BATCH_MATMUL
                yield _constant_operand(
                    model, tensors[index], f"{owner}/{position}", axes, images=images
                )
    elif (
        builtin == schema.BuiltinOperator.GATHER
        and model.buffers[tensors[operator.inputs[0]].buffer].data is not None
    ):
        scale, zero = _grid(tensors[operator.inputs[0]])
        yield Numbers(
            f"{owner}/table",
            "weight",
            scale,
            zero,
            centered_of(_stored(model, tensors[operator.inputs[0]]), zero[0]),
        )


def _on_a_grid(tensor: Any) -> bool:
    return tensor.quantization is not None and tensor.quantization.scale is not None


def _constant_operand(
    model: Any, tensor: Any, key: str, axes: Mapping[str, Sequence[int]], *, images: bool
) -> Numbers:
    scale, zero = _grid(tensor)
    values = _stored(model, tensor)
    order = np.argsort(
        axes.get(
            _name(tensor), _NHWC if values.ndim == len(_NHWC) and images else range(values.ndim)
        )
    )
    onnx_order = values.transpose(order)
    return Numbers(key, "weight", scale, zero, centered_of(onnx_order, zero[0]).squeeze())


def _floats(model: Any, tensor: Any) -> NDArray[np.float32]:
    return _stored(model, tensor).astype(np.float32)


def _stored(model: Any, tensor: Any) -> NDArray[Any]:
    data = np.asarray(model.buffers[tensor.buffer].data, np.uint8)
    if tensor.type == schema.TensorType.INT4:
        return _nibbles(data)[: math.prod(tensor.shape)].reshape(tensor.shape)
    elements: NDArray[Any] = data.view(ELEMENTS[tensor.type])
    return elements.reshape(tensor.shape)


def _nibbles(data: NDArray[np.uint8]) -> NDArray[np.int8]:
    """The int4 of each half byte, low half first."""
    halves = np.stack([data & 0xF, data >> 4], axis=-1).reshape(-1).astype(np.int8)
    signed: NDArray[np.int8] = np.where(halves > 7, halves - 16, halves).astype(np.int8)
    return signed
