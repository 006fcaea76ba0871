"""DepthToSpace and SpaceToDepth: squares of pixels into channels, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.exporters.tflite.layouts import NHWC
from edgeq.exporters.tflite.scene import Op
from edgeq.exporters.tflite.schema import schema

if TYPE_CHECKING:
    from edgeq.exporters.tflite.scene import Scene
    from edgeq.qdq import QdqOp

_CHANNELS = 3


def lower_depth_to_space(op: QdqOp, scene: Scene) -> None:
    """Append a DepthToSpace. TFLite's is ONNX's mode DCR; for CRD the channels are brought into that order first."""
    source, block = scene.operand(op), _block(op)
    index = scene.read(source, NHWC)
    if op.attributes.get("mode", "DCR") == "CRD":
        channels = source.shape[1]
        order = np.arange(channels).reshape(-1, block * block).T.reshape(-1)
        turned = scene.tensor(source, NHWC, f"~channels_for_{op.output.name}")
        options = schema.GatherOptionsT()
        options.axis = _CHANNELS
        scene.builder.operator(Op.GATHER, 2, [index, scene.builder.numbers(order.tolist())], [turned], options)
        index = turned
    _append(op, scene, Op.DEPTH_TO_SPACE, index, schema.DepthToSpaceOptionsT(), block)


def lower_space_to_depth(op: QdqOp, scene: Scene) -> None:
    """Append a SpaceToDepth."""
    _append(op, scene, Op.SPACE_TO_DEPTH, scene.read(scene.operand(op), NHWC), schema.SpaceToDepthOptionsT(), _block(op))


def _append(op: QdqOp, scene: Scene, builtin: int, index: int, options: Any, block: int) -> None:
    options.blockSize = block
    with scene.writing(op, NHWC) as (target, _):
        scene.builder.operator(builtin, 1, [index], [target], options)


def _block(op: QdqOp) -> int:
    return int(op.attributes["blocksize"])  # type: ignore[arg-type]
