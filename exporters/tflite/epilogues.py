"""What stands between the last quantised tensor and an output.

A softmax in float, as in the graph, or an argmax of the integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.exporters.tflite.context import Op
from edgeq.exporters.tflite.file.few_axes import transpose
from edgeq.exporters.tflite.file.layouts import stored_shape
from edgeq.exporters.tflite.ops.normalizing import last
from edgeq.formats.tflite_schema import schema

if TYPE_CHECKING:
    from edgeq.exporters.tflite.context import LoweringContext
    from edgeq.exporters.tflite.file.layouts import Layout
    from edgeq.qdq.ir import QdqOutput


def add_epilogue(context: LoweringContext, output: QdqOutput, index: int, layout: Layout) -> int:
    """Add the head of an output.

    Args:
        context: the conversion.
        output: the output.
        index: its quantised tensor in the file.
        layout: the layout of that.

    Returns:
        The index of what it computes.
    """
    name = f"{output.name}~{output.epilogue}" if output.name in context.storages else output.name
    if output.epilogue == "argmax":
        return _argmax(context, output, index, layout, name)
    return _softmax(context, output, layout, name)


def _argmax(
    context: LoweringContext, output: QdqOutput, index: int, layout: Layout, name: str
) -> int:
    """The place of the largest integer, the first of equal ones.

    That of the largest number, exactly.
    """
    wide = output.dtype == "int64"
    options = schema.ArgMaxOptionsT()
    options.outputType = schema.TensorType.INT64 if wide else schema.TensorType.INT32
    left = [axis for axis in layout if axis != output.axis]
    ordered = left == sorted(left)
    if not ordered:
        layout = tuple(range(len(layout)))
        index, left = (
            context.read(output.tensor, layout),
            [axis for axis in layout if axis != output.axis],
        )
    shape = stored_shape(output.tensor.shape, tuple(left))
    kind: type[np.generic] = np.int64 if wide else np.int32
    found = context.builder.activation(
        f"{name}~flat" if output.keepdims else name, shape, None, kind
    )
    place = context.builder.constant(
        f"~axis_for_{name}", np.array(layout.index(output.axis), np.int32)
    )
    context.builder.operator(Op.ARG_MAX, 2, [index, place], [found], options)
    if not output.keepdims:
        return found
    kept = tuple(
        1 if axis == output.axis else size for axis, size in enumerate(output.tensor.shape)
    )
    target = context.builder.activation(name, kept, None, kind)
    context.reshape(found, target, kept)
    return target


def _softmax(context: LoweringContext, output: QdqOutput, layout: Layout, name: str) -> int:
    """In the layout of the output; turned round where the axis is not the last there."""
    inner = last(layout, output.axis)
    shape = stored_shape(output.tensor.shape, inner)
    logits = context.builder.activation(f"{output.name}~logits", shape, None, np.float32)
    context.builder.operator(
        Op.DEQUANTIZE,
        2,
        [context.read(output.tensor, inner)],
        [logits],
        schema.DequantizeOptionsT(),
    )
    turned = inner != layout
    target = context.builder.activation(
        f"{name}~turned" if turned else name, shape, None, np.float32
    )
    context.builder.operator(*_function(output), [logits], [target], _options(output))
    if not turned:
        return target
    final = context.builder.activation(
        name, stored_shape(output.tensor.shape, layout), None, np.float32
    )
    perm = [inner.index(axis) for axis in layout]
    context.transposes += transpose(context.builder, target, final, shape, perm)
    return final


def _function(output: QdqOutput) -> tuple[int, int]:
    return (Op.SOFTMAX, 1) if output.epilogue == "softmax" else (Op.LOG_SOFTMAX, 1)


def _options(output: QdqOutput) -> Any:
    if output.epilogue == "log_softmax":
        return schema.LogSoftmaxOptionsT()
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    return options
