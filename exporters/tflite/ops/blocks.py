"""DepthToSpace and SpaceToDepth: squares of pixels into channels, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.exporters.tflite.context import Op
from edgeq.exporters.tflite.file.layouts import NHWC, stored_shape
from edgeq.formats.tflite_schema import schema

if TYPE_CHECKING:
    from edgeq.exporters.tflite.context import LoweringContext
    from edgeq.qdq.ir import QdqOp

_CHANNELS = 3
_COLUMN_BY_ROW = [0, 1, 3, 2, 4]


def lower_depth_to_space(op: QdqOp, context: LoweringContext) -> None:
    """Append a DepthToSpace.

    TFLite's is ONNX's mode DCR; for CRD the channels are brought into that order first.
    """
    source, block = context.operand(op), _block(op)
    index = context.read(source, NHWC)
    if op.attributes.get("mode", "DCR") == "CRD":
        channels = source.shape[1]
        order = np.arange(channels).reshape(-1, block * block).T.reshape(-1)
        turned = context.tensor(source, NHWC, f"~channels_for_{op.output.name}")
        options = schema.GatherOptionsT()
        options.axis = _CHANNELS
        context.builder.operator(
            Op.GATHER, 2, [index, context.builder.numbers(order.tolist())], [turned], options
        )
        index = turned
    _append(op, context, Op.DEPTH_TO_SPACE, index, schema.DepthToSpaceOptionsT())


def lower_space_to_depth(op: QdqOp, context: LoweringContext) -> None:
    """Append a SpaceToDepth."""
    _append(
        op,
        context,
        Op.SPACE_TO_DEPTH,
        context.read(context.operand(op), NHWC),
        schema.SpaceToDepthOptionsT(),
    )


def _append(op: QdqOp, context: LoweringContext, builtin: int, index: int, options: Any) -> None:
    with context.writing(op, NHWC) as (target, _):
        if context.element(op.output) is np.int16:
            _turned(op, context, index, target)
            return
        options.blockSize = _block(op)
        context.builder.operator(builtin, 1, [index], [target], options)


def _turned(op: QdqOp, context: LoweringContext, index: int, target: int) -> None:
    """The same by RESHAPE and TRANSPOSE, for 16 bits.

    In NHWC both change places of a pixel's column and a row of its square.
    """
    source, block = context.operand(op), _block(op)
    batch, height, width, channels = stored_shape(source.shape, NHWC)
    split = (
        (batch, height, width, block, channels // block)
        if op.op_type == "DepthToSpace"
        else (batch, height // block, block, width // block, block * channels)
    )
    name = op.output.name
    parts = context.helper(source, f"{name}~parts", split)
    context.reshape(index, parts, split)
    turned = context.helper(source, f"{name}~turned", [split[axis] for axis in _COLUMN_BY_ROW])
    context.builder.operator(
        Op.TRANSPOSE,
        2,
        [parts, context.builder.numbers(_COLUMN_BY_ROW)],
        [turned],
        schema.TransposeOptionsT(),
    )
    context.reshape(turned, target, stored_shape(op.output.shape, NHWC))


def _block(op: QdqOp) -> int:
    return op.integer("blocksize")
