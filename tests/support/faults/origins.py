"""The float network that a quantised one was made from, as another tool would have written it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from tests.support.faults.seeds import seeded

from edgeq.deploy.origin.unrounded import unrounded
from edgeq.qdq.nodes import constant_of, grid_of

if TYPE_CHECKING:
    import onnx

_INSIDE = 0.45
"""Of a step: how far weights are moved, so that rounding gives the same integers."""


def origin(model: onnx.ModelProto, *, renamed: bool = True) -> onnx.ModelProto:
    """A float network whose weights round to those of a quantised one.

    Args:
        model: the quantised network.
        renamed: whether operators and tensors get names of their own.
    """
    given = ir.from_proto(model)
    steps = {
        node.outputs[0].name: grid_of(node)
        for node in given.graph
        if node.op_type == "DequantizeLinear" and constant_of(node.inputs[0]) is not None
    }
    made = unrounded(given)
    rng = np.random.default_rng(seeded(3))
    for name, grid in steps.items():
        value = made.graph.initializers.get(name or "")
        if value is None:
            continue
        real = constant_of(value)
        assert real is not None
        scale = np.broadcast_to(grid.broadcast(real.ndim)[0], real.shape)
        moved = real.astype(np.float64) + rng.uniform(-_INSIDE, _INSIDE, real.shape) * scale
        value.const_value = ir.tensor(moved.astype(np.float32), name=name)
    if renamed:
        _rename(made.graph)
    return ir.to_proto(made)


def _rename(graph: ir.Graph) -> None:
    kept = {value.name for value in graph.outputs}
    for number, node in enumerate(graph):
        node.name = f"node_{number}"
        for value in node.outputs:
            if value.name not in kept:
                value.name = f"value_{number}"
