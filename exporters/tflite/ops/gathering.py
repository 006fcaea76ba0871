"""Gather and ScatterElements with constant indices.

Rows picked, and rows added up, as graph networks do.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.exporters.tflite.context import Op
from edgeq.exporters.tflite.file.layouts import onnx_order, stored_shape
from edgeq.exporters.tflite.ops.products import multiply
from edgeq.exporters.tflite.ops.shape import cut
from edgeq.exporters.tflite.storage import refused
from edgeq.formats.tflite_schema import schema
from edgeq.qdq.ir import QdqConstant
from edgeq.qdq.picks import picks_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeq.exporters.tflite.context import LoweringContext
    from edgeq.exporters.tflite.file.layouts import Layout
    from edgeq.qdq.ir import QdqOp, QdqTensor

_LARGEST_MATRIX = 1 << 24  # bytes: beyond that a scatter is no product any more


def lower_gather(op: QdqOp, context: LoweringContext) -> None:
    """Append a Gather with constant indices."""
    source = context.operand(op)
    axis = op.integer("axis")
    shape = op.integers("indices_shape")
    picked = op.integers("indices")
    if len(shape) == 1:
        gather(op, context, {axis: picked})
        return
    rank = len(source.shape)
    if source.is_index and not shape:
        _part(op, context, source, axis, picked[0])
        return
    index = context.read(source, onnx_order(rank))
    indices = context.builder.constant(
        f"{op.output.name}~indices", np.array(picked, np.int32).reshape(shape)
    )
    with context.writing(op, onnx_order(len(op.output.shape))) as (target, _):
        _append(context, index, indices, target, axis)


def _part(op: QdqOp, context: LoweringContext, source: QdqTensor, axis: int, place: int) -> None:
    """Append the numbers at one place of an axis: microcontrollers gather none of 32 bits."""
    sizes = [1 if at == axis else size for at, size in enumerate(source.shape)]
    begins = [place if at == axis else 0 for at in range(len(sizes))]
    part = context.helper(op.output, f"{op.output.name}~part", sizes)
    index = context.read(source, onnx_order(len(sizes)))
    ends = [at + size for at, size in zip(begins, sizes, strict=True)]
    cut(context, index, part, source.shape, begins, ends)
    layout = onnx_order(len(op.output.shape))
    target = context.tensor(op.output, layout)
    context.reshape(part, target, op.output.shape)
    context.place(op.output, target, layout)


def lower_embedding(op: QdqOp, context: LoweringContext) -> None:
    """Append a GATHER from a constant table by the numbers that an input gives."""
    ids, table = context.operand(op), op.inputs[1]
    if not isinstance(table, QdqConstant):
        raise refused(op, "its table is computed at run time", "give it a constant table")
    index = context.read(ids, onnx_order(len(ids.shape)))
    layout = onnx_order(len(op.output.shape))
    target = context.tensor(op.output, layout)
    _append(context, context.table(op, table), index, target, axis=0)
    context.place(op.output, target, layout)


def lower_pick(op: QdqOp, context: LoweringContext) -> None:
    """Append a Tile, an Expand or a Pad by what is there already.

    A GATHER along each axis that it changes.
    """
    source = context.operand(op)
    rank = len(op.output.shape)
    if len(source.shape) == rank:
        gather(op, context, picks_of(op.attributes))
        return
    raised = replace(
        source,
        name=f"{source.name}~raised_for_{op.output.name}",
        shape=(*(1,) * (rank - len(source.shape)), *source.shape),
    )
    context.alias(raised, source)
    target = context.tensor(raised, onnx_order(rank))
    context.reshape(context.read(source, onnx_order(len(source.shape))), target, raised.shape)
    context.place(raised, target, onnx_order(rank))
    gather(replace(op, inputs=(raised,)), context, picks_of(op.attributes))


def gather(op: QdqOp, context: LoweringContext, picks: Mapping[int, tuple[int, ...]]) -> None:
    """Append a GATHER along each of some axes, in whatever layout the input stands."""
    source = context.operand(op)
    layout = context.layout(source)
    index, shape = context.read(source, layout), list(source.shape)
    left = list(picks.items())
    with context.writing(op, layout) as (target, _):
        if not left:
            context.reshape(index, target, stored_shape(op.output.shape, layout))
        for axis, picked in left:
            shape[axis] = len(picked)
            last = axis == left[-1][0]
            reached = target if last else context.tensor(op.output, layout, f"~axis{axis}", shape)
            _append(context, index, context.builder.numbers(picked), reached, layout.index(axis))
            index = reached


def _append(context: LoweringContext, source: int, indices: int, target: int, axis: int) -> None:
    options = schema.GatherOptionsT()
    options.axis = axis
    context.builder.operator(Op.GATHER, 2, [source, indices], [target], options)


def lower_scatter(op: QdqOp, context: LoweringContext) -> None:
    """Append a ScatterElements that adds rows onto zeros.

    A product with the matrix that says which row goes where.

    TFLite's own operators for this either have no int8 kernel or overflow in 8 bits.
    """
    data, indices, _ = (*op.inputs, None, None, None)[:3]
    updates = context.operand(op, 2)
    if op.attributes.get("reduction", "none") != "add":
        raise refused(op, "it does not add", 'use reduction="add"')
    if (
        not isinstance(data, QdqConstant)
        or data.dequantized().any()
        or not isinstance(indices, QdqConstant)
    ):
        raise refused(
            op,
            "it adds to other numbers than constant zeros, or computes its indices",
            "scatter onto zeros, then add",
        )
    axis = op.integer("axis")
    rows = _rows(op, indices.values, axis)
    matrix = np.zeros((op.output.shape[axis], rows.size), np.int8)
    if matrix.size > _LARGEST_MATRIX:
        raise refused(
            op,
            f"the matrix of its {rows.size} rows has {matrix.size} entries",
            "split the graph into smaller ones",
        )
    np.add.at(matrix, (rows, np.arange(rows.size)), 1)
    layout: Layout = onnx_order(len(updates.shape))
    multiply(op, context, matrix, layout, (axis,), layout)


def _rows(op: QdqOp, indices: NDArray[np.generic], axis: int) -> NDArray[np.int64]:
    """The row that each row of the updates goes to."""
    lines = np.moveaxis(indices.astype(np.int64), axis, 0).reshape(indices.shape[axis], -1)
    if np.any(lines != lines[:, :1]):
        raise refused(op, "its indices differ within a row", "scatter whole rows")
    rows: NDArray[np.int64] = lines[:, 0] % op.output.shape[axis]
    return rows
