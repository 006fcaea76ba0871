"""Add, Sub, Mul, and changes of grid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.exporters.tflite.biases import input_ends
from edgeq.exporters.tflite.context import Op
from edgeq.exporters.tflite.float_context import FallbackContext
from edgeq.exporters.tflite.storage import IN_FLOAT_HINT, check_rescale, clamps, refused
from edgeq.formats.tflite_schema import schema
from edgeq.qdq.ir import Operand, QdqConstant, QdqTensor

if TYPE_CHECKING:
    from edgeq.exporters.tflite.context import LoweringContext
    from edgeq.exporters.tflite.file.layouts import Layout
    from edgeq.qdq.ir import QdqOp


def lower_add(op: QdqOp, context: LoweringContext) -> None:
    """Append an Add."""
    _check_kernel(op, context)
    options = schema.AddOptionsT()
    options.potScaleInt16 = False  # scales need be no powers of two
    _binary(op, context, Op.ADD, 2, options)


def lower_sub(op: QdqOp, context: LoweringContext) -> None:
    """Append a Sub."""
    _check_kernel(op, context)
    options = schema.SubOptionsT()
    options.potScaleInt16 = False  # scales need be no powers of two
    _binary(op, context, Op.SUB, 2, options)


def lower_mul(op: QdqOp, context: LoweringContext) -> None:
    """Append a Mul."""
    scales = [
        float(o.params.scale)
        for o in op.inputs
        if o is not None and o.params is not None and o.params.axis is None
    ]
    rescales_up = len(scales) == 2 and scales[0] * scales[1] >= float(op.output.scale)
    if rescales_up:
        largest = math.prod(max(map(abs, _ends(o))) for o in op.inputs[:2] if o is not None)
        check_rescale(op, largest, scales[0] * scales[1] / float(op.output.scale))
    _check_kernel(op, context)
    _binary(op, context, Op.MUL, 3 if rescales_up else 2, schema.MulOptionsT())


def lower_div(op: QdqOp, context: LoweringContext) -> None:
    """Append a Div of two tensors in float."""
    _require_float(op, context)
    _binary(op, context, Op.DIV, 1, schema.DivOptionsT())


def lower_pow(op: QdqOp, context: LoweringContext) -> None:
    """Append a Pow in float."""
    _require_float(op, context)
    _binary(op, context, Op.POW, 1, schema.PowOptionsT(), fuses_relu=False)


def lower_requantize(op: QdqOp, context: LoweringContext) -> None:
    """Append a change of grid: RELU where it also clamps at zero, else QUANTIZE."""
    source = context.operand(op)
    layout = context.layout(source)
    if isinstance(context, FallbackContext):
        context.quantize(op.output, context.read(source, layout), layout)
        return
    storage = context.storages[op.output.name]
    rectifies = clamps(op, storage)[0] == storage.zero_point
    check_rescale(
        op, -context.storages[source.name].smallest, float(source.scale) / float(op.output.scale)
    )
    with context.writing(op, layout, fuses_relu=rectifies) as (target, _):
        builtin, version, options = (
            (Op.RELU, 2, None) if rectifies else (Op.QUANTIZE, 1, schema.QuantizeOptionsT())
        )
        context.builder.operator(
            builtin, version, [context.read(source, layout)], [target], options
        )


def lower_relu(op: QdqOp, context: LoweringContext) -> None:
    """Append a Relu or Relu6 of a float model that no operator before it can take along."""
    source = context.operand(op)
    layout = context.layout(source)
    with context.writing(op, layout) as (target, _):
        context.builder.operator(
            Op.RELU6 if op.activation == "relu6" else Op.RELU,
            1,
            [context.read(source, layout)],
            [target],
        )


def fits_kernel(op: QdqOp, zero_point: int) -> bool:
    """Whether no kernel for the width of an operator's output overflows.

    LiteRT's int8 kernels for x86 pack a sum, before it saturates, into 16 bits, and wrap around
    without a word; its int16 kernels end the process where the larger of the scales is 2^14 times
    the output's. They saturate a product at 16 bits, then add the zero point, and wrap around.

    Args:
        op: the operator; true for what is no sum and no product of numbers on grids.
        zero_point: of its output, as it is stored.
    """
    operands = [
        o for o in op.inputs[:2] if o is not None and o.params is not None and o.params.axis is None
    ]
    in_float = op.output.is_float or any(isinstance(o, QdqTensor) and o.is_float for o in operands)
    if in_float or len(operands) < 2 or op.op_type not in ("Add", "Sub", "Mul"):
        return True
    step = float(op.output.scale)
    scales = [float(o.params.scale) for o in operands if o.params is not None]
    if op.output.params.dtype in ("int16", "uint16"):
        return op.op_type == "Mul" or 2 * max(scales) / step < 2**15
    if op.op_type != "Mul":
        return sum(map(_furthest, operands)) / step < 2**15 - 2**8
    (a, b), (c, d) = map(_centered, operands)
    products = [left * right * math.prod(scales) / step for left in (a, b) for right in (c, d)]
    over = zero_point > 0 and max(products) + zero_point >= 2**15 - 1
    under = zero_point < 0 and min(products) + zero_point <= -(2**15)
    return not over and not under


def _check_kernel(op: QdqOp, context: LoweringContext) -> None:
    """Refuse what a kernel would overflow on, see :func:`fits_kernel`."""
    if not context.is_float and not fits_kernel(op, context.storages[op.output.name].zero_point):
        raise refused(
            op,
            "its output's scale is too small for its operands': kernels would overflow",
            "quantise its output with a larger scale",
        )


def _require_float(op: QdqOp, context: LoweringContext) -> None:
    """Refuse in integers what has a kernel in float only."""
    if not context.is_float:
        raise refused(op, "TFLite has no integer kernel for it", IN_FLOAT_HINT)


def _ends(operand: Operand) -> tuple[int, int]:
    """What an operand can be less its zero point, also one that is given to the graph."""
    return input_ends(operand) if isinstance(operand, QdqTensor) else _centered(operand)


def _centered(operand: Operand) -> tuple[int, int]:
    """The smallest and the largest integer of an operand, less its zero point."""
    if isinstance(operand, QdqTensor):
        return operand.low - operand.zero_point, operand.high - operand.zero_point
    centered = operand.centered()
    return int(centered.min(initial=0)), int(centered.max(initial=0))


def _furthest(operand: Operand) -> float:
    """The largest absolute number that an operand can be."""
    if operand.params is None:
        return 0.0
    return max(abs(bound) for bound in _centered(operand)) * float(operand.params.scale)


def _binary(
    op: QdqOp,
    context: LoweringContext,
    builtin: int,
    version: int,
    options: Any,
    *,
    fuses_relu: bool = True,
) -> None:
    tensors = [operand for operand in op.inputs if isinstance(operand, QdqTensor)]
    rank = len(op.output.shape)
    if not tensors or any(len(tensor.shape) != rank for tensor in tensors):
        raise refused(
            op,
            "its operands have different numbers of dimensions",
            "reshape the smaller operand first",
        )
    layout = context.layout(tensors[0])
    indices = [_operand(op, operand, context, layout) for operand in op.inputs]
    with context.writing(op, layout, fuses_relu=fuses_relu) as (target, activation):
        if fuses_relu:
            options.fusedActivationFunction = activation
        context.builder.operator(builtin, version, indices, [target], options)


def _operand(op: QdqOp, operand: Operand | None, context: LoweringContext, layout: Layout) -> int:
    if isinstance(operand, QdqTensor):
        return context.read(operand, layout)
    if not isinstance(operand, QdqConstant):
        raise refused(op, "an operand is missing", "write the model again from its source")
    return context.constant(op, operand, layout)


def lower_prelu(op: QdqOp, context: LoweringContext) -> None:
    """Append a PRelu."""
    source, slope = context.operand(op), op.inputs[1]
    layout = context.layout(source)
    if not isinstance(slope, QdqConstant):
        raise refused(op, "its slopes are computed at run time", "make the slopes constant")
    constant = context.constant(op, slope, layout)
    with context.writing(op, layout) as (target, _):
        context.builder.operator(Op.PRELU, 1, [context.read(source, layout), constant], [target])


def lower_clip(op: QdqOp, context: LoweringContext) -> None:
    """Append a Clip in float; in integers it is in the grid."""
    source = context.operand(op)
    layout = context.layout(source)
    bounds = (op.real("min"), Op.MAXIMUM), (op.real("max"), Op.MINIMUM)
    finite = [(bound, builtin) for bound, builtin in bounds if np.isfinite(bound)]
    index = context.read(source, layout)
    with context.writing(op, layout) as (target, _):
        for i, (bound, builtin) in enumerate(finite):
            reached = (
                target if i == len(finite) - 1 else context.tensor(op.output, layout, "~maximum")
            )
            limit = context.builder.constant(
                f"{op.output.name}~bound{i}", np.array([bound], np.float32)
            )
            context.builder.operator(
                builtin, 1, [index, limit], [reached], schema.MaximumMinimumOptionsT()
            )
            index = reached
