"""Transposes that need not be: those that meet one that undoes them, and those of blocks of pixels.

A recurrent operator has its steps first and the batch second. The rest of a graph has the batch
first, so that the Transposes around the operator cancel each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.calibration._nodes import constant, output, shape_of, sole_reader

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.calibration.normal_form.draft import Draft

# how a pixel shuffle orders (batch, channels and blocks, rows, columns) in six dimensions
_ORDERS: dict[tuple[int, ...], str] = {(0, 1, 4, 2, 5, 3): "CRD", (0, 3, 4, 1, 5, 2): "DCR"}


def shuffles_as_blocks(draft: Draft) -> None:
    """Write in place each pixel shuffle in six dimensions as the DepthToSpace that it is."""
    for node in tuple(draft.graph):
        if node.domain == "" and node.op_type == "Transpose":
            _shuffle(draft, node)


def _shuffle(draft: Draft, turn: ir.Node) -> None:
    apart = turn.inputs[0].producer() if turn.inputs[0] is not None else None
    together = sole_reader(output(turn))
    if apart is None or together is None or sole_reader(output(apart)) is not turn:
        return
    source, six, after = apart.inputs[0], shape_of(output(apart)), shape_of(output(together))
    before = shape_of(source)
    mode = _ORDERS.get(tuple(_order(turn))) if "perm" in turn.attributes else None
    if (
        (apart.op_type, together.op_type) != ("Reshape", "Reshape")
        or mode is None
        or source is None
        or six is None
        or before is None
        or after is None
        or (len(before), len(six), len(after)) != (4, 6, 4)
        or None in (*before[1:], *six[1:], *after[1:])
    ):
        return
    block, channels = (six[2], six[1]) if mode == "CRD" else (six[1], six[3])
    rows, columns = before[2] or 0, before[3] or 0
    if (
        six[1:4] != ((channels, block, block) if mode == "CRD" else (block, block, channels))
        or six[4:] != before[2:]
        or after[1:] != (channels, rows * (block or 0), columns * (block or 0))
    ):
        return
    made = draft.add(
        "DepthToSpace",
        [source],
        together,
        "shuffled",
        attributes={"blocksize": block or 0, "mode": mode},
    )
    draft.finish(together, made)
    for node in (turn, apart):
        draft.graph.remove(node, safe=True)


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
