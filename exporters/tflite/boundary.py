"""A file's inputs and outputs.

The integers themselves, uint8 shifted by 128, or floats at the ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.exporters.tflite.context import Op
from edgeq.exporters.tflite.epilogues import add_epilogue
from edgeq.exporters.tflite.file.builder import StoredGrid
from edgeq.exporters.tflite.file.layouts import natural, onnx_order, stored_shape
from edgeq.formats.tflite_schema import schema
from edgeq.qdq.axes import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.exporter import IoLayout, IoType
    from edgeq.exporters.tflite.context import LoweringContext
    from edgeq.exporters.tflite.file.layouts import Layout
    from edgeq.qdq.ir import QdqOutput, QdqTensor

_UINT8_SHIFT = 128


def end_layout(tensor: QdqTensor, channels: Mapping[str, int]) -> Layout:
    """NHWC for what the graph takes for images in NCHW.

    As in ONNX for all else, images that are NHWC there among them.

    Args:
        tensor: an input or output.
        channels: see :func:`edgeq.qdq.axes.channel_axes`.
    """
    rank = len(tensor.shape)
    return natural(rank) if channels.get(tensor.name) == CHANNELS else onnx_order(rank)


def add_input(
    context: LoweringContext,
    tensor: QdqTensor,
    inner_layout: Layout,
    io_type: IoType,
    io_layout: IoLayout = "nhwc",
) -> int:
    """Add one input of the file; returns its index.

    The range the graph allows is enforced on what comes in.

    With nchw it stands in the order of ONNX, and one TRANSPOSE of the integers brings it to
    ``inner_layout``.
    """
    layout = onnx_order(len(tensor.shape)) if io_layout == "nchw" else inner_layout
    if tensor.is_float:
        outer = context.tensor(tensor, layout)
        context.place(tensor, outer, layout)
        context.place(tensor, context.read(tensor, inner_layout), inner_layout)
        return outer
    if tensor.is_index:
        outer = context.tensor(tensor, layout)
        context.place(tensor, outer, layout)
        return outer
    storage = context.storages[tensor.name]
    low = storage.low if storage.low > storage.smallest else None
    high = storage.high if storage.high < storage.largest else None
    bounded = low is not None or high is not None
    inner = context.tensor(tensor, layout, "~unbounded" if bounded else "")
    outer = inner
    if io_type != "int8":
        outer = _boundary(context, tensor, layout, io_type, tensor.graph_input)
        context.builder.operator(Op.QUANTIZE, 1, [outer], [inner], schema.QuantizeOptionsT())
    context.place(tensor, context.bounded(tensor, inner, layout, low, high), layout)
    context.place(tensor, context.read(tensor, inner_layout), inner_layout)
    return outer


def add_output(context: LoweringContext, output: QdqOutput, io_type: IoType, layout: Layout) -> int:
    """Add one output of the file in a layout; returns its index.

    A softmax at the end is computed in float, as in the graph.
    """
    tensor = output.tensor
    index = context.read(tensor, layout)
    if output.epilogue:
        return add_epilogue(context, output, index, layout)
    if tensor.is_float:
        return index
    if io_type == "int8":
        return index
    outer = _boundary(context, tensor, layout, io_type, output.name)
    builtin, options = (
        (Op.DEQUANTIZE, schema.DequantizeOptionsT())
        if io_type == "float32"
        else (Op.QUANTIZE, schema.QuantizeOptionsT())
    )
    context.builder.operator(builtin, 2 if io_type == "float32" else 1, [index], [outer], options)
    return outer


def _boundary(
    context: LoweringContext, tensor: QdqTensor, layout: Layout, io_type: IoType, name: str
) -> int:
    shape = stored_shape(tensor.shape, layout)
    # the integers inside keep theirs
    name = f"{name}~{io_type}" if name in context.storages else name
    context.note_axes(name, layout)
    if io_type == "float32":
        return context.builder.activation(name, shape, None, np.float32)
    if context.storages[tensor.name].dtype != "int8":
        raise ArtefactError(
            f"the tensor {tensor.name!r} has 16 bits, which uint8 cannot show",
            hint="use --io-type float32",
        )
    grid = StoredGrid.of(tensor.scale, context.storages[tensor.name].zero_point + _UINT8_SHIFT)
    return context.builder.activation(name, shape, grid, np.uint8)
