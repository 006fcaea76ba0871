"""Which operators of an ONNX file ran in integers on a GPU, from the profile of a run.

Each kernel says what type it read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeq.formats.quantizers import QUANTIZERS
from edgeq.plan import Plan, PlannedOp
from edgeq.qdq.nodes import title
from edgeq.qdq.shapes import Shapes
from edgeq.targets.plans.onnx import MARK, is_computed
from edgeq.targets.plans.onnx_macs import macs_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx
    import onnx_ir as ir

    from edgeq.plan import Arithmetic

_INTEGERS = ("int8", "uint8")


def plan_of(model: onnx.ModelProto, layers: Sequence[Mapping[str, Any]]) -> Plan:
    """What the provider made of a model.

    Args:
        model: the model.
        layers: its nodes as the worker tells them, of :func:`edgeq.targets.plans.onnx.marked`'s
            copy of the model.
    """
    import onnx_ir as ir

    graph = ir.serde.deserialize_model(model)
    shapes, kernels = Shapes(graph), _by_position(layers)
    ops = [
        _planned(node, kernels.get(position), macs_of(node, shapes))
        for position, node in enumerate(graph.graph)
        if is_computed(node)
    ]
    return Plan(tuple(ops), sum(layer["kind"] == "Transpose" for layer in layers), 0)


def _by_position(layers: Sequence[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """The kernel of a node, by the node's position.

    Quantisers that were made of it do not count.
    """
    found: dict[int, Mapping[str, Any]] = {}
    for layer in layers:
        mark = MARK.match(layer["made_from"])
        if mark is not None and layer["kind"] not in QUANTIZERS:
            found.setdefault(int(mark.group(1)), layer)
    return found


def _planned(node: ir.Node, layer: Mapping[str, Any] | None, macs: int | None) -> PlannedOp:
    if layer is None:
        return PlannedOp(title(node), node.op_type, "fused into another", "none", "target", macs)
    arithmetic: Arithmetic = "integer" if layer["type"] in _INTEGERS else "float"
    why = (
        ""
        if arithmetic == "integer"
        else f"{layer['provider']} computes this {node.op_type} in {layer['type'] or 'float'}"
    )
    return PlannedOp(title(node), node.op_type, str(layer["kind"]), arithmetic, "target", macs, why)
