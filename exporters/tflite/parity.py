"""Both sides of the parity report of a TFLite file.

What it has to hold, and what its bytes do hold.

The reading side takes the file as :mod:`edgeq.formats.tflite_file` shows it, and knows nothing of
the code that writes it. It takes weights from the operators that use them, and turns them back
into the ONNX layout by the operator, as a runtime would understand them.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.exporter import Transposes
from edgeq.exporters.parity import TensorNumbers, centered_of, numbers_of
from edgeq.exporters.tflite.expected_values import as_written, derived_numbers, is_plain
from edgeq.exporters.tflite.storage import constant_shift
from edgeq.formats.tflite_file import axes_in, graph_of
from edgeq.formats.tflite_schema import ELEMENTS
from edgeq.qdq.ir import QdqConstant, QdqTensor
from edgeq.qdq.op_traits import LAYERS
from edgeq.qdq.picks import EMBEDDING

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.exporters.tflite.storage import Storage
    from edgeq.formats.tflite_file import FileGraph, FileOperator, FileTensor
    from edgeq.qdq.ir import QdqGraph, QdqOp

_TO_ONNX: dict[str, tuple[int, ...]] = {
    "CONV_2D": (0, 3, 1, 2),  # OHWI
    "DEPTHWISE_CONV_2D": (3, 0, 1, 2),  # 1HWO
    "FULLY_CONNECTED": (0, 1),  # (out, in)
    "TRANSPOSE_CONV": (3, 0, 1, 2),  # OHWI, and ONNX has IOHW
}
_CHANNEL_DIMENSION = {
    "CONV_2D": 0,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 0,
    "TRANSPOSE_CONV": 0,
}
_NHWC = (0, 2, 3, 1)
_BIAS_INPUT = {"TRANSPOSE_CONV": 3}
# what a later operator clamps, crops or gives another shape
_VIEWS = ("~unbounded", "~uncropped", "~image")
_ACTIVATIONS = ("INT8", "INT16")
_BINARY = frozenset(("ADD", "SUB", "MUL", "PRELU", "BATCH_MATMUL"))
_HINT = "write the file again"


def expected_numbers(
    graph: QdqGraph, storages: Mapping[str, Storage], in_float: Container[str] = ()
) -> list[TensorNumbers]:
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
        elif op.op_type == EMBEDDING:
            shift = storages[op.output.name].shift
            key = f"{op.output.name}/table"
            expected.append(replace(numbers, key=key, zero_point=numbers.zero_point + shift))
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
    found: Mapping[str, TensorNumbers],
    in_float: Container[str] = (),
) -> list[TensorNumbers]:
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


def with_helpers(
    expected: list[TensorNumbers], found: Mapping[str, TensorNumbers]
) -> list[TensorNumbers]:
    """The expected numbers, and those of helpers in the file.

    A helper, such as a padded copy, has the grid of its tensor.
    """
    grids = {numbers.key: numbers for numbers in expected if numbers.kind == "activation"}
    helpers = {
        key: _helped(key, grids)
        for key in found
        if key not in grids and found[key].kind == "activation"
    }
    return expected + [replace(grids[owner], key=key) for key, owner in helpers.items() if owner]


def _helped(key: str, grids: Mapping[str, TensorNumbers]) -> str:
    owner = key
    while owner and owner not in grids:
        owner = owner.rpartition("~")[0]
    return owner


def _absent_bias(op: QdqOp) -> Iterator[TensorNumbers]:
    """What a file must hold for an operator without bias.

    Zeros, for runtimes that want the input to be there.
    """
    source, weights, bias = (*op.inputs, None, None, None)[:3]
    if (
        op.op_type not in LAYERS
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
        yield TensorNumbers(
            f"{op.output.name}/2", "bias", scale, np.zeros(scale.shape, np.int64), zeros
        )


def _weights_in_onnx_order(
    numbers: TensorNumbers, channels: int, *, transposed: bool
) -> TensorNumbers:
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


def stored_numbers(content: bytes) -> dict[str, TensorNumbers]:
    """Every quantised tensor of a TFLite file, by the keys of :func:`numbers_of`.

    Raises:
        ArtefactError: the bytes are no TFLite file.
    """
    return numbers_in(opened(content), axes_in(content))


def opened(content: bytes) -> FileGraph:
    """The main graph of a file.

    Raises:
        ArtefactError: the bytes are no TFLite file.
    """
    if content[4:8] != b"TFL3":
        raise ArtefactError("the bytes are not a TFLite file", hint=_HINT)
    return graph_of(content)


def numbers_in(graph: FileGraph, axes: Mapping[str, Sequence[int]]) -> dict[str, TensorNumbers]:
    """As :func:`stored_numbers`, of a file that is open already.

    Args:
        graph: the file's main graph.
        axes: the order of axes of tensors that are not stored as readers take for granted.
    """
    found = {
        tensor.name: TensorNumbers(tensor.name, "activation", tensor.scale, tensor.zero_point)
        for tensor in graph.tensors
        if tensor.scale.size and tensor.kind in _ACTIVATIONS
    }
    for operator in graph.operators:
        found.update((numbers.key, numbers) for numbers in _operands(operator, axes))
    return found


def transposes_in(graph: FileGraph) -> Transposes:
    """The TRANSPOSE operators of a file, and what they write in one inference of batch 1."""
    moved = [operator.output for operator in graph.operators if operator.name == "TRANSPOSE"]
    return Transposes(
        len(moved),
        sum(math.prod(tensor.shape) * np.dtype(ELEMENTS[tensor.kind]).itemsize for tensor in moved),
    )


def stored_floats(graph: FileGraph) -> dict[str, NDArray[np.float32]]:
    """The weights (``<output>/1``, as in ONNX) and biases (``<output>/2``) of a float file."""
    found: dict[str, NDArray[np.float32]] = {}
    for operator in graph.operators:
        if operator.name in _TO_ONNX:
            owner = _owner(operator)
            weights = _stored(_read(operator, 1)).transpose(_TO_ONNX[operator.name])
            found[f"{owner}/1"] = weights.astype(np.float32)
            found[f"{owner}/2"] = _stored(_bias(operator)).astype(np.float32)
    return found


def _owner(operator: FileOperator) -> str:
    """The model's tensor that an operator computes, which the file may clamp, crop or reshape."""
    owner = operator.output.name
    for view in _VIEWS:
        owner = owner.removesuffix(view)
    return owner


def _operands(operator: FileOperator, axes: Mapping[str, Sequence[int]]) -> Iterator[TensorNumbers]:
    if not operator.outputs:
        return
    owner = _owner(operator)
    if operator.name in _TO_ONNX:
        weights = _read(operator, 1)
        bias = _bias(operator)
        if not weights.scale.size:
            return
        scale = weights.scale
        if scale.size > 1 and weights.axis != _CHANNEL_DIMENSION[operator.name]:
            scale = scale[:0]  # scales on the wrong axis are not the scales that the model means
        integers = _stored(weights).transpose(_TO_ONNX[operator.name])
        yield TensorNumbers(f"{owner}/1", "weight", scale, weights.zero_point, integers)
        yield TensorNumbers(f"{owner}/2", "bias", bias.scale, bias.zero_point, _stored(bias))
    elif operator.name in _BINARY:
        for position, operand in enumerate(operator.inputs):
            if operand is not None and operand.data is not None and operand.scale.size:
                images = operator.name != "BATCH_MATMUL"
                yield _constant_operand(operand, f"{owner}/{position}", axes, images=images)
    elif operator.name == "GATHER" and _read(operator, 0).data is not None:
        table = _read(operator, 0)
        if not table.scale.size:
            return
        centered = centered_of(_stored(table), table.zero_point[0])
        yield TensorNumbers(f"{owner}/table", "weight", table.scale, table.zero_point, centered)


def _constant_operand(
    tensor: FileTensor, key: str, axes: Mapping[str, Sequence[int]], *, images: bool
) -> TensorNumbers:
    values = _stored(tensor)
    usual = _NHWC if values.ndim == len(_NHWC) and images else range(values.ndim)
    onnx_order = values.transpose(np.argsort(axes.get(tensor.name, usual)))
    centered = centered_of(onnx_order, tensor.zero_point[0]).squeeze()
    return TensorNumbers(key, "weight", tensor.scale, tensor.zero_point, centered)


def _bias(operator: FileOperator) -> FileTensor:
    return _read(operator, _BIAS_INPUT.get(operator.name, 2))


def _read(operator: FileOperator, position: int) -> FileTensor:
    """An operand that has to be there."""
    tensor = operator.inputs[position]
    if tensor is None:
        raise ArtefactError(f"{operator.name} {operator.title!r} leaves an operand out", hint=_HINT)
    return tensor


def _stored(tensor: FileTensor) -> NDArray[Any]:
    """The content of a tensor that has to be a constant."""
    if tensor.data is None:
        raise ArtefactError(f"the file holds no numbers of {tensor.name!r}", hint=_HINT)
    return tensor.data
