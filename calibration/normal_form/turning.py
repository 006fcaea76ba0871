"""Moves a Transpose behind what reads it, where it meets one that undoes it.

A recurrent operator has its steps first and the batch second. The rest of a graph has the batch
first, so that the Transposes around the operator cancel each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.calibration._nodes import constant, output, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.calibration.normal_form.draft import Draft


def sink(draft: Draft, value: ir.Value) -> None:
    """Move in place the Transpose that makes a value behind each of its readers that allows it."""
    turn = value.producer()
    if turn is None or turn.op_type != "Transpose" or value.is_graph_output():
        return
    for reader in {user for user, _ in value.uses()}:
        if reader.op_type == "Transpose":
            _compose(draft, turn, reader)
        elif reader.op_type == "Squeeze":
            _behind_squeeze(draft, turn, reader)
        elif reader.op_type == "Reshape":
            _behind_merge(draft, turn, reader)
    if not value.uses() and turn.graph is not None:
        draft.graph.remove(turn, safe=True)


def _order(turn: ir.Node) -> list[int]:
    return list(turn.attributes["perm"].as_ints())


def _compose(draft: Draft, turn: ir.Node, reader: ir.Node) -> None:
    source, result = turn.inputs[0], output(reader)
    if source is None or "perm" not in reader.attributes:
        return
    order = [_order(turn)[i] for i in _order(reader)]
    if order != list(range(len(order))):
        _put(draft, reader, source, order)
    elif draft.can_stand_for(result, source):
        draft.take_over(result, source)
        draft.graph.remove(reader, safe=True)


def _put(draft: Draft, reader: ir.Node, source: ir.Value, order: list[int]) -> None:
    """A Transpose in the place of a node."""
    made = draft.add("Transpose", [source], reader, "turned", attributes={"perm": order})
    draft.finish(reader, made)
    sink(draft, made)


def _behind_squeeze(draft: Draft, turn: ir.Node, reader: ir.Node) -> None:
    source, order, shape = turn.inputs[0], _order(turn), shape_of(turn.inputs[0])
    axes = constant(reader.inputs[1]) if len(reader.inputs) > 1 else None
    if source is None or shape is None or axes is None:
        return
    gone = {int(axis) % len(order) for axis in axes.reshape(-1)}
    before = sorted(order[axis] for axis in gone)
    left = [axis for axis in range(len(order)) if axis not in before]
    sizes = [shape[axis] for axis in left]
    flat = draft.reshape(source, sizes, reader, "squeezed")
    after = [left.index(order[axis]) for axis in range(len(order)) if axis not in gone]
    _put(draft, reader, flat, after)


def _behind_merge(draft: Draft, turn: ir.Node, reader: ir.Node) -> None:
    """A Reshape that joins the last axes of (steps, batch, ...), which the Transpose left alone."""
    source, order = turn.inputs[0], _order(turn)
    shape, after = shape_of(source), shape_of(output(reader))
    if (
        source is None
        or shape is None
        or after is None
        or len(after) != 3
        or order[:2] != [1, 0]
        or order[2:] != list(range(2, len(order)))
        or after[:2] != (shape[1], shape[0])
    ):
        return
    flat = draft.reshape(source, [shape[0], shape[1], after[2]], reader, "joined")
    _put(draft, reader, flat, [1, 0, 2])
