"""Softmax and LogSoftmax, whose integer kernels write fixed grids.

A QUANTIZE takes them to the model's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeq.exporters.tflite.context import Op
from edgeq.exporters.tflite.file.layouts import stored_shape
from edgeq.exporters.tflite.ops.pointwise import fixed_tensor
from edgeq.exporters.tflite.storage import refused
from edgeq.formats.tflite_schema import schema
from edgeq.quant import QuantParams

if TYPE_CHECKING:
    from edgeq.exporters.tflite.context import LoweringContext
    from edgeq.exporters.tflite.file.layouts import Layout
    from edgeq.qdq.ir import QdqOp

SOFTMAX_GRID = QuantParams.of(1 / 256, -128)
FINE_SOFTMAX_GRID = QuantParams.of(2.0**-16, -(2**15), "int16")
"""What the kernel writes that reads 8 bits and gives 16."""
# so that its error, of some steps of 2^-16, and a second rounding together stay within a step
FINEST_SOFTMAX = 2.0**-13
LOG_SOFTMAX_GRID = QuantParams.of(16 / 256, 127)


def lower_softmax(op: QdqOp, context: LoweringContext) -> None:
    """Append a Softmax.

    Rounding to 1/256 first moves no result by more than a step of a grid that is no finer; finer
    ones need 2^-16.
    """
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    if not context.is_float and context.storages[op.output.name].dtype == "int16":
        raise refused(
            op,
            "TFLite's kernel for 16 bits is off by several steps",
            "quantise what it reads and writes to 8 bits",
        )
    _lower(
        op,
        context,
        Op.SOFTMAX,
        2,
        options,
        SOFTMAX_GRID if _is_coarse(op, context) else FINE_SOFTMAX_GRID,
    )


def _is_coarse(op: QdqOp, context: LoweringContext) -> bool:
    return (
        context.is_float
        or float(op.output.scale) >= float(SOFTMAX_GRID.scale)
        or context.storages[context.operand(op).name].dtype != "int8"
    )


def lower_log_softmax(op: QdqOp, context: LoweringContext) -> None:
    """Append a LogSoftmax; TFLite's reaches down to -16 and no further."""
    if (
        not context.is_float
        and (op.output.low - op.output.zero_point) * float(op.output.scale) < -16
    ):
        raise refused(
            op,
            "its output reaches below -16, where TFLite's ends",
            "give it the scale 1/16 and the largest zero point",
        )
    _lower(op, context, Op.LOG_SOFTMAX, 2, schema.LogSoftmaxOptionsT(), LOG_SOFTMAX_GRID)


def _lower(
    op: QdqOp,
    context: LoweringContext,
    builtin: int,
    version: int,
    options: Any,
    fixed: QuantParams,
) -> None:
    source = context.operand(op)
    layout = last(context.layout(source), op.integer("axis"))
    index = context.read(source, layout)
    if context.is_float or context.is_on(op.output, fixed):
        with context.writing(op, layout) as (target, _):
            context.builder.operator(builtin, version, [index], [target], options)
        return
    finest = FINEST_SOFTMAX if fixed is FINE_SOFTMAX_GRID else float(fixed.scale)
    if float(op.output.scale) < finest:
        raise refused(
            op,
            f"TFLite writes it with the scale {finest:g} at the finest, and the model's "
            f"{float(op.output.scale):g} is finer",
            f"give it the scale {finest:g}, or a greater one",
        )
    inner = fixed_tensor(context, op.output, stored_shape(op.output.shape, layout), fixed)
    context.builder.operator(builtin, version, [index], [inner], options)
    with context.writing(op, layout) as (target, _):
        context.builder.operator(Op.QUANTIZE, 1, [inner], [target], schema.QuantizeOptionsT())


def last(layout: Layout, axis: int) -> Layout:
    """A layout with one axis moved to its end."""
    return (*(each for each in layout if each != axis), axis)
