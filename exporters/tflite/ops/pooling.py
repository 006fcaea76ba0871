"""Pooling over windows, and means over whole images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.exporters.tflite.context import Op
from edgeq.exporters.tflite.file.layouts import NHWC, onnx_order
from edgeq.exporters.tflite.storage import refused
from edgeq.exporters.tflite.windows import SAME, padded, window_of
from edgeq.formats.tflite_schema import schema
from edgeq.qdq.ir import same_grid

if TYPE_CHECKING:
    from edgeq.exporters.tflite.context import LoweringContext
    from edgeq.exporters.tflite.windows import WindowGeometry
    from edgeq.qdq.ir import QdqOp


def lower_average_pool(op: QdqOp, context: LoweringContext) -> None:
    """Append an AveragePool; a window over the whole image is a mean, which may change the grid."""
    source = context.operand(op)
    window = _window(op, context)
    if window.kernel == source.shape[2:] and not any(window.pads):
        _mean(op, context, (2, 3), keep=True)
        return
    if not context.is_float and not same_grid(source.params, op.output.params):
        raise refused(
            op,
            f"its input {source.name!r} and output {op.output.name!r} have different grids",
            "give a pooling the grid of its input on both sides, or approximate with --requantize",
        )
    counts_padding = bool(op.attributes.get("count_include_pad", 0))
    if (
        counts_padding
        and op.attributes.get("ceil_mode", 0)
        and window.pads != op.attributes.get("pads", (0, 0, 0, 0))
    ):
        raise refused(
            op,
            "it counts its padding, and rounds its size up",
            "set count_include_pad=0, or ceil_mode=0",
        )
    index, padding = padded(context, op, source, window, words=not counts_padding)
    if any(window.pads) and padding != SAME and not counts_padding:
        raise refused(
            op,
            "it leaves its padding out of its means, which TFLite does for SAME padding only",
            "set count_include_pad=1",
        )
    _pool(op, context, Op.AVERAGE_POOL_2D, index, padding, window)


def lower_max_pool(op: QdqOp, context: LoweringContext) -> None:
    """Append a MaxPool.

    Padding with zero changes no maximum of numbers that are not negative, with the smallest number
    none at all.
    """
    source = context.operand(op)
    window = _window(op, context)
    index, padding = padded(
        context, op, source, window, least=context.is_float or source.low < source.zero_point
    )
    _pool(op, context, Op.MAX_POOL_2D, index, padding, window)


def lower_global_average_pool(op: QdqOp, context: LoweringContext) -> None:
    """Append a GlobalAveragePool."""
    _mean(op, context, tuple(range(2, len(context.operand(op).shape))), keep=True)


def lower_reduce_mean(op: QdqOp, context: LoweringContext) -> None:
    """Append a ReduceMean."""
    _mean(
        op,
        context,
        op.integers("axes"),
        keep=bool(op.attributes.get("keepdims", 1)),
    )


def lower_global_max_pool(op: QdqOp, context: LoweringContext) -> None:
    """Append a GlobalMaxPool."""
    _reduce(op, context, tuple(range(2, len(context.operand(op).shape))), Op.REDUCE_MAX, keep=True)


def lower_reduce_max(op: QdqOp, context: LoweringContext) -> None:
    """Append a ReduceMax."""
    _reduce(
        op,
        context,
        op.integers("axes"),
        Op.REDUCE_MAX,
        keep=bool(op.attributes.get("keepdims", 1)),
    )


def _mean(op: QdqOp, context: LoweringContext, axes: tuple[int, ...], *, keep: bool) -> None:
    _reduce(op, context, axes, Op.MEAN, keep=keep)


def _reduce(
    op: QdqOp, context: LoweringContext, axes: tuple[int, ...], builtin: int, *, keep: bool
) -> None:
    source = context.operand(op)
    layout = context.layout(source)
    left = onnx_order(len(op.output.shape))
    if keep:
        left = layout
    elif [axis for axis in layout if axis not in axes] != sorted(set(layout) - set(axes)):
        # the axes that stay would stand in another order than ONNX's
        layout = onnx_order(len(source.shape))
    numbers = context.builder.numbers(sorted(layout.index(axis) for axis in axes))
    options = schema.ReducerOptionsT()
    options.keepDims = keep
    with context.writing(op, left) as (target, _):
        context.builder.operator(
            builtin, 2, [context.read(source, layout), numbers], [target], options
        )


def _window(op: QdqOp, context: LoweringContext) -> WindowGeometry:
    kernel = op.attributes.get("kernel_shape", ())
    if not isinstance(kernel, tuple) or len(kernel) != 2:
        raise refused(
            op, f"its kernel_shape is {kernel}", "export the model with two-dimensional windows"
        )
    window = window_of(op, context.operand(op), (int(kernel[0]), int(kernel[1])))
    if window.dilation != (1, 1):
        raise refused(op, "it is dilated", "pool without dilation")
    return window


def _pool(
    op: QdqOp,
    context: LoweringContext,
    builtin: int,
    index: int,
    padding: int,
    window: WindowGeometry,
) -> None:
    options = schema.Pool2DOptionsT()
    options.padding = padding
    options.strideH, options.strideW = window.stride
    options.filterHeight, options.filterWidth = window.kernel
    with context.writing(op, NHWC, fuses_relu=True) as (target, activation):
        options.fusedActivationFunction = activation
        context.builder.operator(builtin, 2, [index], [target], options)
