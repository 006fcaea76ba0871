"""ConvTranspose: TRANSPOSE_CONV, or a Conv with flipped weights where nothing strides."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.exporters.tflite.context import NO_ACTIVATION, Op
from edgeq.exporters.tflite.file.layouts import NHWC, stored_shape
from edgeq.exporters.tflite.ops.convolution import OHWI, lower_conv
from edgeq.exporters.tflite.storage import activation, refused
from edgeq.exporters.tflite.windows import SAME, VALID
from edgeq.formats.tflite_schema import schema
from edgeq.qdq.ir import QdqConstant

if TYPE_CHECKING:
    from edgeq.exporters.tflite.context import LoweringContext
    from edgeq.qdq.ir import QdqGraph, QdqOp

_TO_OIHW = (1, 0, 2, 3)


def lower_conv_transpose(op: QdqOp, context: LoweringContext) -> None:
    """Append a ConvTranspose."""
    weights = op.inputs[1]
    if not isinstance(weights, QdqConstant) or weights.values.ndim != 4:
        raise refused(
            op,
            "its weights are no constant image filters",
            "export the model with constant two-dimensional convolutions",
        )
    if op.integers("strides", (1, 1)) == (1, 1):
        lower_conv(as_conv(op), context)
    else:
        _strided(op, context, weights)


def fixes_batch(graph: QdqGraph) -> bool:
    """Whether a graph states sizes, batch and all.

    A TRANSPOSE_CONV that of its output, a batch that was merged with channels its own.
    """
    merged = any(tensor.shape and tensor.shape[0] != 1 for tensor in graph.tensors().values())
    return merged or any(
        op.op_type == "ConvTranspose" and set(op.integers("strides", (1,))) != {1}
        for op in graph.ops
    )


def as_conv(op: QdqOp) -> QdqOp:
    """The Conv that a ConvTranspose of stride 1 is.

    Channels swapped, taps flipped, padding turned inside out.

    Raises:
        ArtefactError: it pads its output, or by more than its filter spans.
    """
    weights = op.inputs[1]
    assert isinstance(weights, QdqConstant)  # noqa: S101  # the caller has looked
    groups = op.integer("group", 1)
    spans = [
        (size - 1) * dilation
        for size, dilation in zip(
            weights.values.shape[2:], op.integers("dilations", (1, 1)), strict=True
        )
    ]
    top, left, bottom, right = _pads(op)
    pads = (spans[0] - top, spans[1] - left, spans[0] - bottom, spans[1] - right)
    if min(pads) < 0 or any(op.integers("output_padding", (0, 0))):
        raise refused(
            op,
            "it pads by more than its filter spans, or pads its output",
            "use padding below the size of the filter",
        )
    values = weights.values
    grouped = values.reshape(groups, values.shape[0] // groups, *values.shape[1:]).swapaxes(1, 2)
    swapped = grouped.reshape(-1, *grouped.shape[2:])[:, :, ::-1, ::-1]
    params = weights.params
    if params is not None and params.axis is not None:
        if params.axis % 4 != 1:
            raise refused(
                op,
                "its weight scales do not follow the output channels",
                "use one scale a tensor or an output channel",
            )
        params = replace(
            params,
            scale=np.tile(params.scale, groups),
            zero_point=np.tile(params.zero_point, groups),
            axis=0,
        )
    constant = QdqConstant(weights.name, np.ascontiguousarray(swapped), params)
    attributes = {**op.attributes, "pads": pads, "auto_pad": "NOTSET"}
    return replace(
        op, op_type="Conv", inputs=(op.inputs[0], constant, *op.inputs[2:]), attributes=attributes
    )


def _strided(op: QdqOp, context: LoweringContext, weights: QdqConstant) -> None:
    if op.integer("group", 1) != 1 or op.integers("dilations", (1, 1)) != (1, 1):
        raise refused(
            op,
            "TFLite's TRANSPOSE_CONV has neither groups nor dilation",
            "use group=1 and dilations=1, or stride 1",
        )
    source = context.operand(op)
    centered = context.weights(op, weights, channel_axis=1).transpose(_TO_OIHW)
    filters = context.add_weights(weights, centered.transpose(OHWI), axis=0)
    bias = context.add_bias(op, source, weights, centered)
    index = context.read(source, NHWC)
    options = schema.TransposeConvOptionsT()
    options.strideH, options.strideW = op.integers("strides", (1, 1))
    options.fusedActivationFunction = NO_ACTIVATION
    top, left, bottom, right = _pads(op)
    if _is_same(op, source.shape[2:], centered.shape[2:]):
        options.padding, shape, crop = SAME, op.output.shape, False
    else:
        batch, channels, height, width = op.output.shape
        options.padding, shape = (
            VALID,
            (batch, channels, height + top + max(bottom, 0), width + left + max(right, 0)),
        )
        crop = shape != op.output.shape
    sizes = context.builder.numbers(stored_shape(shape, NHWC))
    with context.writing(op, NHWC) as (target, _):
        reached = context.tensor(op.output, NHWC, "~uncropped", shape) if crop else target
        context.builder.operator(
            Op.TRANSPOSE_CONV, 3, [sizes, filters, index, bias], [reached], options
        )
        if crop:
            begin, size = (
                context.builder.numbers((0, top, left, 0)),
                context.builder.numbers(stored_shape(op.output.shape, NHWC)),
            )
            context.builder.operator(
                Op.SLICE, 2, [reached, begin, size], [target], schema.SliceOptionsT()
            )


def _is_same(op: QdqOp, before: tuple[int, ...], kernel: tuple[int, ...]) -> bool:
    """Whether TFLite's SAME takes away exactly what the padding does."""
    pads, after = _pads(op), op.output.shape[2:]
    for axis, (stride, size) in enumerate(zip(op.integers("strides", (1, 1)), kernel, strict=True)):
        total = max((before[axis] - 1) * stride + size - after[axis], 0)
        if -(-after[axis] // stride) != before[axis] or pads[axis] != total // 2:
            return False
    return True


def _pads(op: QdqOp) -> tuple[int, int, int, int]:
    """What is cut off the full result, derived from its size where the graph leaves it open.

    Raises:
        ArtefactError: the padding does not give the size that the graph states.
    """
    top, left, bottom, right = op.integers("pads", (0, 0, 0, 0))
    mode = op.attributes.get("auto_pad", "NOTSET")
    shape, weights = activation(op).shape, op.inputs[1]
    assert isinstance(weights, QdqConstant)  # noqa: S101  # the caller has looked
    ends = []
    for axis, first in enumerate((top, left)):
        stride, dilation = (
            op.integers("strides", (1, 1))[axis],
            op.integers("dilations", (1, 1))[axis],
        )
        full = (shape[axis + 2] - 1) * stride + (weights.values.shape[axis + 2] - 1) * dilation + 1
        total = full - op.output.shape[axis + 2] + op.integers("output_padding", (0, 0))[axis]
        if mode in ("SAME_UPPER", "SAME_LOWER") or op.attributes.get("output_shape"):
            small = total // 2
            first = small if mode == "SAME_UPPER" else total - small
        ends.append((first, total - first))
    if (
        mode == "NOTSET"
        and not op.attributes.get("output_shape")
        and (ends[0][1], ends[1][1]) != (bottom, right)
    ):
        raise refused(
            op,
            f"its padding does not give the size {op.output.shape[2:]}",
            "write the model again from its source",
        )
    return ends[0][0], ends[1][0], ends[0][1], ends[1][1]
