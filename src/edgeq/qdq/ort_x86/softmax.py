"""Where ONNX Runtime's integer Softmax overflows, and gives 0 for the max probability.

Its exponentials go up to ``e ** -5`` of the largest float32, divided by the number of elements in
a row. They are multiplied with the steps from 0 to 1 of the result before they are divided by their
sum, and where that is more than float32 holds, all is lost.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.qdq.nodes import grid_of, title
from edgeq.qdq.shapes import Shapes
from edgeq.tabular import counted

if TYPE_CHECKING:
    import onnx_ir as ir

# steps from 0 to 1 an element of the row; the rest is for what float32 rounds
_LIMIT = 0.999 * math.exp(5)
_BETWEEN = ("Relu", "Clip", "Identity", "Dropout")
# the operator set from which on a Softmax is along one axis; before, it was along all from it
_ONE_AXIS = 13


def overflows(scale: float, count: int) -> bool:
    """Whether the kernel overflows.

    Args:
        scale: the step of its result.
        count: how many elements it is computed over.
    """
    return math.floor(np.float32(1) / np.float32(scale)) > _LIMIT * count


def smallest_scale(count: int) -> float:
    """The smallest step of a result over ``count`` elements with which the kernel is right."""
    return 1 / math.floor(_LIMIT * count)


def check_softmax(model: ir.Model) -> None:
    """See that no Softmax between integers overflows where ONNX Runtime computes it in integers.

    Args:
        model: a QDQ model.

    Raises:
        ArtefactError: one does; or its shape cannot be inferred.
    """
    shapes = Shapes(model)
    for node in model.graph:
        quantizer = (
            _quantizer_of(node) if node.op_type == "Softmax" and _is_dequantized(node) else None
        )
        if quantizer is None:
            continue
        shape = shapes.of(node.inputs[0])
        late = model.graph.opset_imports.get("", _ONE_AXIS) >= _ONE_AXIS
        axis = (
            node.attributes["axis"].as_int() if "axis" in node.attributes else -1 if late else 1
        ) % len(shape)
        count = shape[axis] if late else math.prod(shape[axis:])
        if overflows(float(grid_of(quantizer).scale.reshape(-1)[0]), count):
            raise ArtefactError(
                f"Softmax {title(node)!r} over {counted(count, 'element')} "
                "overflows in ONNX Runtime's integer kernel, "
                "which then gives 0 instead of the largest probability: the scale of its "
                "result is too small",
                hint="give its result a scale of "
                f"{math.ceil(1e4 * smallest_scale(count)) / 1e4:.4f} or more"
                + (", or take it away: over one element it is always 1" if count == 1 else ""),
            )


def _is_dequantized(node: ir.Node) -> bool:
    producer = node.inputs[0].producer() if node.inputs[0] is not None else None
    return producer is not None and producer.op_type == "DequantizeLinear"


def _quantizer_of(node: ir.Node) -> ir.Node | None:
    """The one QuantizeLinear that reads a result, perhaps behind bounds that change nothing."""
    readers = list(node.outputs[0].consumers())
    if len(readers) != 1:
        return None
    return (
        readers[0]
        if readers[0].op_type == "QuantizeLinear"
        else _quantizer_of(readers[0])
        if readers[0].op_type in _BETWEEN
        else None
    )
