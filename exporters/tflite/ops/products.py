"""Products of two activations, and sums that are products with a constant matrix of zeros and ones.

TFLite's SUM is not used: its reference kernel gives another result each time it is run (LiteRT
2.3).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeq.exporters.tflite.context import Op
from edgeq.exporters.tflite.file.builder import StoredGrid
from edgeq.exporters.tflite.file.layouts import onnx_order, stored_shape
from edgeq.exporters.tflite.storage import refused
from edgeq.formats.tflite_schema import schema
from edgeq.qdq.ir import QdqConstant, QdqTensor, shape_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.exporters.tflite.context import LoweringContext
    from edgeq.exporters.tflite.file.layouts import Layout
    from edgeq.qdq.ir import Operand, QdqOp

_MOST_DIMENSIONS = 5


def lower_product(op: QdqOp, context: LoweringContext) -> None:
    """Append a MatMul of two activations, or of a constant that FULLY_CONNECTED cannot take."""
    rank = len(op.output.shape)
    shapes = [shape_of(operand) for operand in op.inputs[:2]]
    if rank > _MOST_DIMENSIONS or any(len(shape) < 2 for shape in shapes):
        raise refused(op, "TFLite multiplies matrices of 2 to 5 dimensions", "reshape its operands")
    indices = [_factor(op, operand, context, rank) for operand in op.inputs[:2]]
    with context.writing(op, onnx_order(rank)) as (target, _):
        context.builder.operator(
            Op.BATCH_MATMUL, 2, indices, [target], schema.BatchMatMulOptionsT()
        )


def lower_reduce_sum(op: QdqOp, context: LoweringContext) -> None:
    """Append a ReduceSum: a product with a row of ones."""
    source = context.operand(op)
    axes = op.integers("axes")
    keep = bool(op.attributes.get("keepdims", 1))
    others = [axis for axis in context.layout(source) if axis not in axes]
    layout = context.layout(source)
    if not _adjoin(layout, axes) or (not keep and others != sorted(others)):
        layout = (*sorted(others), *axes)
    size = math.prod(source.shape[axis] for axis in axes)
    left = layout if keep else onnx_order(len(op.output.shape))
    multiply(op, context, np.ones((1, size), np.int8), layout, axes, left)


def multiply(
    op: QdqOp,
    context: LoweringContext,
    matrix: NDArray[np.int8],
    layout: Layout,
    axes: tuple[int, ...],
    left: Layout,
) -> None:
    """Append ``matrix @ x`` along adjoining axes of the input.

    The matrix lies on the grid of whole numbers.

    Args:
        op: the operator; input 0 is an activation.
        context: the conversion.
        matrix: (rows, product of the sizes of the axes), small integers.
        layout: the layout to read the input in; ``axes`` adjoin there.
        axes: what is summed over.
        left: the layout of the result.
    """
    source = next(operand for operand in op.inputs if isinstance(operand, QdqTensor))
    sizes = stored_shape(source.shape, layout)
    first = min(layout.index(axis) for axis in axes)
    # the first dimension stands alone: it may be a batch that is 1 only until the file is run
    before, after = (
        (sizes[0] if first else 1, math.prod(sizes[1:first])),
        math.prod(sizes[first + len(axes) :]),
    )
    index = _viewed(context, op, source, layout, (*before, matrix.shape[1], after))
    values = matrix.astype(np.float32 if context.is_float else context.element(op.output))
    constant = context.builder.constant(
        f"ones_for_{op.output.name}",
        values[None, None],
        None if context.is_float else StoredGrid.of(1.0),
    )
    flat = context.helper(op.output, f"{op.output.name}~flat", (*before, matrix.shape[0], after))
    context.builder.operator(
        Op.BATCH_MATMUL, 2, [constant, index], [flat], schema.BatchMatMulOptionsT()
    )
    with context.writing(op, left) as (target, _):
        context.reshape(flat, target, stored_shape(op.output.shape, left))


def _viewed(
    context: LoweringContext, op: QdqOp, source: QdqTensor, layout: Layout, shape: tuple[int, ...]
) -> int:
    target = context.helper(source, f"{source.name}~for_{op.output.name}", shape)
    context.reshape(context.read(source, layout), target, shape)
    return target


def _adjoin(layout: Layout, axes: tuple[int, ...]) -> bool:
    places = sorted(layout.index(axis) for axis in axes)
    return places == list(range(places[0], places[0] + len(places)))


def _factor(op: QdqOp, operand: Operand | None, context: LoweringContext, rank: int) -> int:
    if isinstance(operand, QdqTensor):
        if len(operand.shape) != rank:
            raise refused(
                op,
                "its operands have different numbers of dimensions",
                "reshape the smaller operand first",
            )
        return context.read(operand, onnx_order(rank))
    if not isinstance(operand, QdqConstant):
        raise refused(op, "an operand is missing", "write the model again from its source")
    return context.constant(op, operand, onnx_order(rank))
