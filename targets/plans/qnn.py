"""What the HTP does with the operators of an ONNX file that it took whole.

An operator between quantisers runs in integers there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.plan import Plan, PlannedOp
from edgeq.qdq.nodes import title
from edgeq.qdq.shapes import Shapes
from edgeq.targets.plans.onnx import is_computed
from edgeq.targets.plans.onnx_blocks import float_input, float_weights
from edgeq.targets.plans.onnx_macs import macs_of

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir


def plan_of(model: onnx.ModelProto) -> Plan:
    """The plan of a model that a session was made of.

    QNN tells nothing of its kernels, so the plan follows the quantisers.
    """
    import onnx_ir as ir

    graph = ir.serde.deserialize_model(model)
    shapes = Shapes(graph)
    ops = [_planned(node, macs_of(node, shapes)) for node in graph.graph if is_computed(node)]
    return Plan(tuple(ops), sum(op.op_type == "Transpose" for op in ops), 0)


def _planned(node: ir.Node, macs: int | None) -> PlannedOp:
    why = float_input(node) or float_weights(node)
    return PlannedOp(
        title(node),
        node.op_type,
        f"HTP {node.op_type}",
        "float" if why else "integer",
        "target",
        macs,
        why,
    )
