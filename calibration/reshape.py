"""Takes the arithmetic on shapes out of ``x.view(x.size(0), -1)``, which tracing exporters write as five operators."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes

from edgeq.calibration._nodes import argument, constant, set_constant


def dynamic_batch_reshapes(model: ir.Model) -> None:
    """Give each Reshape that computes only its batch size the constant shape ``[0, …]``, in place; 0 keeps a dimension."""
    for node in tuple(model.graph):
        if node.domain == "" and node.op_type == "Reshape":
            shape = _shape(argument(node, 1))
            if shape is not None:
                set_constant(node, 1, f"{node.name}_shape", shape)
    passes.RemoveUnusedNodesPass()(model)


def _shape(value: ir.Value | None) -> np.ndarray[tuple[int], np.dtype[np.int64]] | None:
    concat = value.producer() if value is not None else None
    if concat is None or concat.op_type != "Concat":
        return None
    rest = [constant(part) for part in concat.inputs[1:]]
    if not _is_batch_size(concat.inputs[0]) or any(part is None for part in rest):
        return None
    return np.array([0, *(int(size) for part in rest if part is not None for size in part.reshape(-1))], np.int64)


def _is_batch_size(value: ir.Value | None) -> bool:
    """Whether a value is the first dimension of some activation: Shape, the entry at 0 of it, perhaps as a list."""
    node = value.producer() if value is not None else None
    if node is not None and node.op_type == "Unsqueeze":
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    if node is None or node.op_type != "Gather" or node.inputs[0] is None:
        return False
    index, shape = constant(argument(node, 1)), node.inputs[0].producer()
    return index is not None and index.size == 1 and index.item() == 0 and shape is not None and shape.op_type == "Shape"
