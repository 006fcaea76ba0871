"""What the file must hold where an operator is written as another one.

The expected side of the parity report.

Written anew from the definition of the operators, so that the report judges the lowering functions
and does not repeat them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.exporters.parity import TensorNumbers
from edgeq.numerics.pointwise import evaluate
from edgeq.qdq.ir import QdqConstant, QdqTensor
from edgeq.qdq.picks import EMBEDDING
from edgeq.quant import STORAGE_RANGE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from edgeq.exporters.tflite.storage import Storage
    from edgeq.qdq.ir import QdqGraph, QdqOp

_FIXED = {
    "Sigmoid": (1 / 256, -128),
    "Tanh": (1 / 128, 0),
    "Softmax": (1 / 256, -128),
    "LogSoftmax": (1 / 16, 127),
}
_FINE_SOFTMAX = (2.0**-16, -(2**15))
"""The output grids that TFLite's specification of 8-bit quantisation prescribes, by operator."""


def as_written(op: QdqOp, numbers: TensorNumbers) -> TensorNumbers:
    """Weights of a convolution as the file's convolution has them.

    They are 2-D, and not transposed where nothing strides.
    """
    centered, scale = numbers.centered, numbers.scale
    if centered is None or numbers.kind == "bias":
        return numbers
    if centered.ndim == 3 and op.op_type in ("Conv", "ConvTranspose"):
        centered = centered[:, :, np.newaxis, :]
    if is_plain(op):
        groups = op.integer("group", 1)
        parts = [part.transpose(1, 0, 2, 3) for part in np.split(centered, groups)]
        centered = np.concatenate(parts)[:, :, ::-1, ::-1]
        scale = scale if scale.size == 1 else np.concatenate([scale] * groups)
    return replace(
        numbers, centered=centered, scale=scale, zero_point=np.zeros(scale.shape, np.int64)
    )


def is_plain(op: QdqOp) -> bool:
    """Whether a ConvTranspose does not stride, so that it is a Conv."""
    strides = op.attributes.get("strides", (1,))
    return op.op_type == "ConvTranspose" and isinstance(strides, tuple) and set(strides) == {1}


def derived_numbers(
    graph: QdqGraph, storages: Mapping[str, Storage], found: Mapping[str, TensorNumbers]
) -> Iterator[TensorNumbers]:
    """Numbers of the file that are not the model's but follow from them.

    Tables, prescribed grids, rows of ones.
    """
    for op in graph.ops:
        name = op.output.name
        if f"{name}~fixed" in found:
            scale, zero = _prescribed(op)
            yield TensorNumbers(
                f"{name}~fixed",
                "activation",
                np.array([scale], np.float32),
                np.array([zero], np.int64),
            )
        if f"{name}/table" in found and op.op_type != EMBEDDING:
            yield _table(op, storages)
        if f"{name}~upper/table" in found:
            yield from _halves(_table(op, storages), name)
        if op.op_type == "ReduceSum" or op.op_type == "ScatterElements":
            yield TensorNumbers(
                f"{name}~flat/0",
                "weight",
                np.ones(1, np.float32),
                np.zeros(1, np.int64),
                _matrix(op),
            )


def _prescribed(op: QdqOp) -> tuple[float, int]:
    return (
        _FINE_SOFTMAX
        if op.op_type == "Softmax" and op.output.scale < _FIXED["Softmax"][0]
        else _FIXED[op.op_type]
    )


def _table(op: QdqOp, storages: Mapping[str, Storage]) -> TensorNumbers:
    """The result for each integer that the input's element type holds, entry by entry."""
    source, given = op.inputs[0], op.inputs[1] if len(op.inputs) > 1 else None
    assert isinstance(source, QdqTensor)  # noqa: S101  # only functions of one tensor have tables
    params, held = op.output.params, storages[source.name]
    low, high = STORAGE_RANGE[source.params.dtype]
    integers = np.arange(held.smallest, held.largest + 1).clip(low + held.shift, high + held.shift)
    integers -= held.shift
    if isinstance(given, QdqConstant) and op.op_type == "Lookup":
        values = given.values[integers - low].astype(np.float32)
    else:
        values = evaluate(op.op_type, (source.params.dequantize(integers),), op.attributes)
    levels = params.quantize(values).astype(np.int64).clip(op.output.low, op.output.high)
    zero = np.array([op.output.zero_point + storages[op.output.name].shift], np.int64)
    return TensorNumbers(
        f"{op.output.name}/table",
        "weight",
        np.atleast_1d(params.scale),
        zero,
        levels - op.output.zero_point,
    )


def _halves(table: TensorNumbers, name: str) -> Iterator[TensorNumbers]:
    """A table of 16 bits as two of 8, and the grids of what is looked up there."""
    assert table.centered is not None  # noqa: S101  # it is a table
    whole = table.centered.astype(np.int64) + table.zero_point
    parts = {"upper": (256, 0, whole // 256), "lower": (1, -128, whole % 256)}
    for half, (times, zero, centered) in parts.items():
        grid = (table.scale * np.float32(times), np.array([zero], np.int64))
        for tensor in (f"{name}~{half}", f"{name}~{half}_table"):
            yield TensorNumbers(tensor, "activation", *grid)
        yield TensorNumbers(f"{name}~{half}/table", "weight", *grid, centered)


def _matrix(op: QdqOp) -> NDArray[np.int64]:
    """How often each element summed over goes into each sum."""
    if op.op_type == "ReduceSum":
        source = op.inputs[0]
        assert isinstance(source, QdqTensor)  # noqa: S101  # it was lowered
        sizes = [source.shape[axis] for axis in op.integers("axes")]
        return np.ones((1, int(np.prod(sizes))), np.int64).squeeze()
    indices, axis = op.inputs[1], op.integer("axis")
    assert isinstance(indices, QdqConstant)  # noqa: S101  # it was lowered
    rows = [int(line.reshape(-1)[0]) for line in np.moveaxis(indices.values, axis, 0)]
    size = op.output.shape[axis]
    return np.array(
        [[int(row % size == to) for row in rows] for to in range(size)], np.int64
    ).squeeze()
