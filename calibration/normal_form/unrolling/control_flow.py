"""Conditions and loops that do not depend on what a model is given, written out.

Exporters leave an If behind where a network asks for sizes, and a Loop where torch scripts a
``for``. Where the condition, or the number of steps, follows from constants and sizes, only one
branch is ever taken, and as many steps are always made. The others stay, to be refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes

from edgeq.calibration._nodes import argument, constant, output
from edgeq.calibration.normal_form.draft import Draft
from edgeq.calibration.normal_form.statics import known_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Known = Mapping[ir.Value, NDArray[np.generic]]

_KINDS = ("If", "Loop")
_MOST_NODES = 20_000  # of a loop that is written out
_AXES_AS_INPUT = 13  # the opset since which Unsqueeze reads its axes


def without_control_flow(model: ir.Model) -> None:
    """Write out what can be, in place; also what branches and steps hold themselves."""
    while any(node.domain == "" and node.op_type in _KINDS for node in model.graph):
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        found = [node for node in model.graph if node.domain == "" and node.op_type in _KINDS]
        decisive = [
            value
            for node in found
            for value in node.inputs[: _KINDS.index(node.op_type) + 1]
            if value is not None
        ]
        known = known_values(model, decisive)
        written = [_written_out(model, node, known) for node in found]
        if not any(written):
            return


def _written_out(model: ir.Model, node: ir.Node, known: Known) -> bool:
    if node.op_type == "If":
        condition = argument(node, 0)
        if condition is None or condition not in known:
            return False
        taken = "then_branch" if known[condition].all() else "else_branch"
        branch = node.attributes[taken].as_graph()
        draft = Draft(model.graph)
        _finish(draft, node, _moved(draft, node, branch, {}))
        return True
    return _loop(model, node, known)


def _loop(model: ir.Model, node: ir.Node, known: Known) -> bool:
    trips, condition = argument(node, 0), argument(node, 1)
    body = node.attributes["body"].as_graph()
    if trips is None or trips not in known:
        return False
    if condition is not None and condition not in known:
        return False
    goes_on = condition is None or bool(known[condition].all())
    steps = max(int(known[trips].item()), 0) if goes_on else 0
    carried = [value for value in node.inputs[2:] if value is not None]
    collected = len(body.outputs) - 1 - len(carried)
    if (
        not _goes_on_always(body)
        or steps * len(body) > _MOST_NODES
        or (collected and not steps)
        or len(carried) != len(node.inputs) - 2
    ):
        return False
    draft = Draft(model.graph)
    rows: list[list[ir.Value]] = [[] for _ in range(collected)]
    for step in range(steps):
        count = draft.constant(f"{output(node).name}_step", np.array(step, np.int64))
        true = draft.constant(f"{output(node).name}_goes_on", np.array(True))
        copy = body.clone(allow_outer_scope_values=True)
        given = dict(zip(copy.inputs, [count, true, *carried], strict=True))
        _, *made = _moved(draft, node, copy, given)
        carried = made[: len(carried)]
        for row, value in zip(rows, made[len(carried) :], strict=True):
            row.append(value)
    _finish(draft, node, [*carried, *(_stacked(model, draft, node, row) for row in rows)])
    return True


def _goes_on_always(body: ir.Graph) -> bool:
    """Whether a body never ends its loop: its condition is what it was given, or true."""
    value: ir.Value | None = body.outputs[0]
    while value is not None and (maker := value.producer()) is not None:
        if maker.op_type == "Constant":
            held = maker.attributes.get("value")
            return held is not None and bool(held.as_tensor().numpy().all())
        if maker.op_type not in ("Identity", "Cast") or maker.domain:
            return False
        value = maker.inputs[0]
    if value is body.inputs[1]:
        return True
    array = constant(value)
    return array is not None and bool(array.all())


def _moved(
    draft: Draft, before: ir.Node, inner: ir.Graph, given: Mapping[ir.Value, ir.Value]
) -> list[ir.Value]:
    """Put the nodes of a graph in front of a node of another; its outputs.

    Args:
        draft: the graph that they come into.
        before: the node.
        inner: the graph, which is empty afterwards.
        given: what its inputs become.
    """
    made = [given.get(value, value) for value in inner.outputs]
    inner.outputs.clear()
    for value, new in given.items():
        value.replace_all_uses_with(new)
    for value in tuple(inner.initializers.values()):
        del inner.initializers[value.name or ""]
        value.name = draft.values.fresh(value.name or "constant")
        draft.graph.register_initializer(value)
    nodes = list(inner)
    inner.remove(nodes)
    for node in nodes:
        node.name = draft.nodes.fresh(node.name or f"{before.name}/{node.op_type}")
        for value in node.outputs:
            value.name = draft.values.fresh(value.name) if value.name else value.name
    draft.graph.insert_before(before, nodes)
    return made


def _stacked(model: ir.Model, draft: Draft, node: ir.Node, rows: Sequence[ir.Value]) -> ir.Value:
    """What each step gives, one after the other along a new first axis."""
    late = model.graph.opset_imports.get("", _AXES_AS_INPUT) >= _AXES_AS_INPUT
    axis = draft.constant(f"{output(node).name}_first", np.array([0], np.int64))
    parts = []
    for row in rows:
        apart = draft.node(
            "Unsqueeze",
            [row, axis] if late else [row],
            f"{row.name}_row",
            [] if late else [ir.AttrInt64s("axes", [0])],
        )
        draft.graph.insert_before(node, apart)
        parts.append(output(apart))
    stacked = draft.node("Concat", parts, f"{output(node).name}_rows", [ir.AttrInt64("axis", 0)])
    draft.graph.insert_before(node, stacked)
    return output(stacked)


def _finish(draft: Draft, node: ir.Node, results: Sequence[ir.Value]) -> None:
    """Replace the outputs of a node, under their names, and remove it."""
    for old, made in zip(node.outputs, results, strict=True):
        if not old.name:
            continue
        same = draft.node("Identity", [made], f"{old.name}_taken")
        draft.graph.insert_before(node, same)
        new = output(same)
        new.type, new.shape = old.type, old.shape
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        old.name, new.name = new.name, old.name
    draft.graph.remove(node, safe=True)
