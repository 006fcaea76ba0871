"""Conv as CONV_2D or DEPTHWISE_CONV_2D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeq.exporters.tflite.context import Op
from edgeq.exporters.tflite.file.layouts import NHWC
from edgeq.exporters.tflite.storage import refused
from edgeq.exporters.tflite.windows import padded, window_of
from edgeq.formats.tflite_schema import schema
from edgeq.qdq.ir import QdqConstant

if TYPE_CHECKING:
    from edgeq.exporters.tflite.context import LoweringContext
    from edgeq.exporters.tflite.windows import WindowGeometry
    from edgeq.qdq.ir import QdqOp

SHIFT_TOO_COARSE = "the shift of its BatchNormalization would be off by more than half a step"
OHWI = (0, 2, 3, 1)
DEPTHWISE = (1, 2, 3, 0)


def lower_conv(op: QdqOp, context: LoweringContext) -> None:
    """Append a Conv.

    One input channel a group is depthwise; other groups need a runtime that knows grouped CONV_2D.
    """
    source, weights = context.operand(op), _weights(op)
    _check_shift(op)
    centered = context.weights(op, weights, channel_axis=0)
    window = window_of(op, source, (centered.shape[2], centered.shape[3]))
    index, padding = padded(context, op, source, window)
    groups = op.integer("group", 1)
    if source.shape[1] != centered.shape[1] * groups:
        raise refused(
            op,
            f"it has {source.shape[1]} input channels and weights for {centered.shape[1] * groups}",
            "check its group",
        )
    depthwise = groups == source.shape[1] and centered.shape[1] == 1 and groups > 1
    layout = DEPTHWISE if depthwise else OHWI
    packed = context.fits_int4(source, centered)
    filters = context.add_weights(
        weights, centered.transpose(layout), axis=layout.index(0), packed=packed
    )
    bias = context.add_bias(op, source, weights, centered)
    with context.writing(op, NHWC, fuses_relu=True) as (target, activation):
        if depthwise:
            multiplier = centered.shape[0] // groups
            options = _depthwise_options(window, padding, activation, multiplier)
            context.builder.operator(
                Op.DEPTHWISE_CONV_2D, 3, [index, filters, bias], [target], options
            )
        else:
            version = 6 if groups > 1 else 3
            context.builder.operator(
                Op.CONV_2D,
                version,
                [index, filters, bias],
                [target],
                _conv_options(window, padding, activation),
            )


def _check_shift(op: QdqOp) -> None:
    """Check that a BatchNormalization folded into a bias moves no result by over half a step.

    Raises:
        ArtefactError: it does, because the output's grid is very much finer than the input's.
    """
    error = 0.0 if op.norm is None else op.norm.bias_error
    if not op.output.is_float and error > float(op.output.scale) / 2:
        raise refused(
            op,
            f"its output's scale is too small for its input's: {SHIFT_TOO_COARSE}",
            "quantise its input more finely, or its output with a larger scale",
        )


def _weights(op: QdqOp) -> QdqConstant:
    weights = op.inputs[1]
    if not isinstance(weights, QdqConstant):
        raise refused(op, "its weights are computed at run time", "make the weights constant")
    if weights.values.ndim != 4:
        raise refused(
            op,
            f"its weights have {weights.values.ndim} dimensions",
            "export the model with two-dimensional convolutions",
        )
    return weights


def _conv_options(window: WindowGeometry, padding: int, activation: int) -> Any:
    options = schema.Conv2DOptionsT()
    _fill(options, window, padding, activation)
    return options


def _depthwise_options(
    window: WindowGeometry, padding: int, activation: int, multiplier: int
) -> Any:
    options = schema.DepthwiseConv2DOptionsT()
    _fill(options, window, padding, activation)
    options.depthMultiplier = multiplier
    return options


def _fill(options: Any, window: WindowGeometry, padding: int, activation: int) -> None:
    options.padding, options.fusedActivationFunction = padding, activation
    options.strideH, options.strideW = window.stride
    options.dilationHFactor, options.dilationWFactor = window.dilation
