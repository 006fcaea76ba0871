"""Half and double precision as single: integer kernels have neither.

Exporters leave a few operators in double precision, such as the grid that a detector's boxes are
added to, and whole models are stored in half precision. All of it is computed in float32 here. So
are eight-bit pixels that a Cast makes float numbers of: float32 holds them exactly.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeq.calibration._nodes import name_of
from edgeq.qdq.nodes import pixels_of

OTHER_FLOATS = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)
FLOATS = (ir.DataType.FLOAT, *OTHER_FLOATS)
_TYPES = ("to", "dtype")  # attributes that name the type of a result


def in_single_precision(model: ir.Model) -> ir.Model:
    """A copy of a model with float32 for each other type of float; the model itself without any."""
    graph = model.graph
    values = [*graph.inputs, *graph.initializers.values()]
    values += [value for node in graph for value in node.outputs]
    if (
        not any(value.dtype in OTHER_FLOATS for value in values)
        and not any(_is_other(node) for node in graph)
        and not pixel_inputs(model)
    ):
        return model
    copy = model.clone()
    graph = copy.graph
    for value in graph.inputs:
        for pixels in pixels_of(value):
            pixels.type = ir.TensorType(ir.DataType.FLOAT)
    for node in graph:
        _rewrite(node)
    for value in graph.initializers.values():
        if value.const_value is not None and value.dtype in OTHER_FLOATS:
            value.const_value = ir.tensor(_single(value.const_value), name=value.name)
    computed = [value for node in graph for value in node.outputs]
    for value in (*graph.inputs, *graph.initializers.values(), *computed):
        if value.dtype in OTHER_FLOATS:
            value.type = ir.TensorType(ir.DataType.FLOAT)
    return copy


def pixel_inputs(model: ir.Model) -> frozenset[str]:
    """The names of the uint8 inputs that nothing reads but as float numbers."""
    return frozenset(name_of(value) for value in model.graph.inputs if pixels_of(value))


def _is_other(node: ir.Node) -> bool:
    named = any(
        name in node.attributes and node.attributes[name].value in OTHER_FLOATS for name in _TYPES
    )
    held = _held(node)
    return named or (held is not None and held.dtype in OTHER_FLOATS)


def _held(node: ir.Node) -> ir.TensorProtocol | None:
    """The tensor of a Constant or ConstantOfShape."""
    held = node.attributes.get("value")
    return held.as_tensor() if held is not None and held.type == ir.AttributeType.TENSOR else None


def _rewrite(node: ir.Node) -> None:
    for name in _TYPES:
        if name in node.attributes and node.attributes[name].value in OTHER_FLOATS:
            node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT))
    held = _held(node)
    if held is not None and held.dtype in OTHER_FLOATS:
        node.attributes["value"] = ir.AttrTensor("value", ir.tensor(_single(held)))


def _single(tensor: ir.TensorProtocol) -> np.ndarray:
    return tensor.numpy().astype(np.float32)
