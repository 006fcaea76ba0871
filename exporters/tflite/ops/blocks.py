"""DepthToSpace and SpaceToDepth: squares of pixels into channels, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.exporters.tflite.context import Op
from edgeq.exporters.tflite.file.layouts import NHWC
from edgeq.formats.tflite_schema import schema

if TYPE_CHECKING:
    from edgeq.exporters.tflite.context import LoweringContext
    from edgeq.qdq.ir import QdqOp

_CHANNELS = 3


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
    _append(op, context, Op.DEPTH_TO_SPACE, index, schema.DepthToSpaceOptionsT(), block)


def lower_space_to_depth(op: QdqOp, context: LoweringContext) -> None:
    """Append a SpaceToDepth."""
    _append(
        op,
        context,
        Op.SPACE_TO_DEPTH,
        context.read(context.operand(op), NHWC),
        schema.SpaceToDepthOptionsT(),
        _block(op),
    )


def _append(
    op: QdqOp, context: LoweringContext, builtin: int, index: int, options: Any, block: int
) -> None:
    options.blockSize = block
    with context.writing(op, NHWC) as (target, _):
        context.builder.operator(builtin, 1, [index], [target], options)


def _block(op: QdqOp) -> int:
    return op.integer("blocksize")
