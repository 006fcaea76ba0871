"""Which operators OpenVINO computes in integers, read from the graph that its compiler made.

Every node is given a name of ours before the compiler sees the model; each kernel says the names
that it was made from.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgeq.plan import Plan, PlannedOp
from edgeq.qdq.nodes import grid_of, title
from edgeq.qdq.shapes import Shapes
from edgeq.targets.plans.onnx import MARK, is_computed
from edgeq.targets.plans.onnx_blocks import float_input, float_weights
from edgeq.targets.plans.onnx_macs import macs_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import onnx
    import onnx_ir as ir

    from edgeq.plan import Arithmetic

    RuntimeLayer = Mapping[str, Any]

_MULTIPLYING = ("Convolution", "Deconvolution", "FullyConnected", "MatMul")
_MOVING = ("Reorder", "Transpose")
_INTEGERS = ("i8", "u8")


def plan_of(model: onnx.ModelProto, layers: Sequence[RuntimeLayer]) -> Plan:
    """What OpenVINO made of a model.

    Args:
        model: the model.
        layers: the kernels as the worker tells them, of :func:`edgeq.targets.plans.onnx.marked`'s
            copy of the model.
    """
    import onnx_ir as ir

    graph = ir.serde.deserialize_model(model)
    shapes, kernels = Shapes(graph), _by_position(layers, _leaving(graph.graph))
    ops = [
        _planned(node, kernels.get(position, ()), macs_of(node, shapes))
        for position, node in enumerate(graph.graph)
        if is_computed(node)
    ]
    moved = [layer for layer in layers if layer["kind"] in _MOVING]
    return Plan(tuple(ops), len(moved), sum(int(layer["output_bytes"]) for layer in moved))


def _leaving(graph: ir.Graph) -> dict[str, int]:
    """The position of what makes each output: OpenVINO calls that node as the output is called."""
    return {
        value.name or "": position
        for position, node in enumerate(graph)
        for value in node.outputs
        if value.is_graph_output()
    }


def _by_position(
    layers: Sequence[RuntimeLayer], leaving: Mapping[str, int]
) -> dict[int, tuple[RuntimeLayer, ...]]:
    """The kernels that a node went into, by the node's position; those that multiply first."""
    found: dict[int, tuple[RuntimeLayer, ...]] = {}
    for layer in sorted(layers, key=lambda layer: layer["kind"] not in _MULTIPLYING):
        positions = {int(mark) for mark in re.findall(MARK, layer["made_from"])}
        positions |= {leaving[name] for name in layer["made_from"].split(",") if name in leaving}
        for position in positions:
            found[position] = (*found.get(position, ()), layer)
    return found


def _planned(node: ir.Node, layers: Sequence[RuntimeLayer], macs: int | None) -> PlannedOp:
    if not layers:
        return PlannedOp(title(node), node.op_type, "removed", "none", "target", macs)
    layer = layers[0]
    kernel = f"{layer['kind']} {layer['kernel']}"
    arithmetic: Arithmetic = "integer" if layer["precision"] in _INTEGERS else "float"
    return PlannedOp(
        title(node),
        node.op_type,
        kernel,
        arithmetic,
        "target",
        macs,
        "" if arithmetic == "integer" else _why_float(node),
    )


def _why_float(node: ir.Node) -> str:
    found = float_input(node) or float_weights(node)
    if not found and node.op_type == "ConvTranspose":
        return "OpenVINO transposes convolutions in integers only where the input's zero point is 0"
    if not found and _is_plain(node):
        return (
            "its input has the step 1 and the zero point 0: OpenVINO folds that "
            "dequantisation away, and the convolution with it"
        )
    return found or f"OpenVINO computed this {node.op_type} in float"


def _is_plain(node: ir.Node) -> bool:
    """Whether what a node reads is worth its own integers."""
    producer = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
    if producer is None or producer.op_type != "DequantizeLinear":
        return False
    grid = grid_of(producer)
    return bool((grid.scale == 1).all() and not grid.zero_point.any())
