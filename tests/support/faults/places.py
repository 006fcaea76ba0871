"""Where in a graph a fault of an operator is planted, and under which name it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from tests.support.faults.planted import Planted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.faults.planting import Layer, Planting


def nodes_behind(p: Planting, layer: Layer, *op_types: str) -> Iterator[onnx.NodeProto]:
    """The operators of some types that stand behind a layer, nearest first."""
    return (node for node in list(p.graph.node)[layer.place :] if node.op_type in op_types)


def stored_behind(p: Planting, node: onnx.NodeProto) -> str | None:
    """The tensor, without suffix, that stores what a node computes, alone."""
    behind = node
    while behind.op_type != "QuantizeLinear":
        users = p.readers(behind.output[0])
        if len(users) != 1:
            return None
        behind = users[0]
    return str(behind.input[0])


def told_of(p: Planting, node: onnx.NodeProto, *causes: str) -> Planted | None:
    """A fault at what a node computes; None where several operators read it unquantised."""
    stored = stored_behind(p, node)
    return None if stored is None else Planted(frozenset(causes), frozenset((stored,)))


def runs(p: Planting) -> bool:
    """Whether the shapes of a changed graph still fit together."""
    try:
        onnx.shape_inference.infer_shapes(p.model, check_type=True, strict_mode=True)
    except onnx.shape_inference.InferenceError:
        return False
    return True


def shapes_of(p: Planting) -> dict[str, list[int]]:
    """The dimensions of each tensor."""
    inferred = onnx.shape_inference.infer_shapes(p.model, data_prop=True)
    graph = inferred.graph
    return {
        each.name: [d.dim_value for d in each.type.tensor_type.shape.dim]
        for each in (*graph.value_info, *graph.input, *graph.output)
    }
