"""The end of a detector: parts of different ranges that are only put together, not computed with.

Boxes are pixels and scores lie between 0 and 1. On one grid of 8 bits all scores would be 0 or 1
step. A concatenation that nothing but an output is made of needs no grid at all: each part keeps
its own, and the numbers are put together behind it. Parts of like ranges still share one, and are
put together as integers.
"""

from __future__ import annotations

import dataclasses
from itertools import chain
from typing import TYPE_CHECKING

from edgeq.calibration._nodes import constant, name_of, output
from edgeq.calibration.grids import activation_grid
from edgeq.calibration.operators import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import onnx_ir as ir

    from edgeq.network.placement import Placement
    from edgeq.quant import QuantParams

_ALIKE = 4.0  # a part that fills less of the range than one over this would lose over two bits


def tail_of(graph: ir.Graph) -> dict[ir.Node, tuple[str, ...]]:
    """Each last concatenation, and the data movement behind it, in graph order.

    With the names of the tensors that its result is made of.
    """
    moves: set[ir.Node] = set()
    for node in reversed(tuple(graph)):
        if _moves(node) and all(user in moves for user, _ in output(node).uses()):
            moves.add(node)
    tail: dict[ir.Node, tuple[str, ...]] = {}
    for node in graph:
        if node not in moves:
            continue
        values = node.inputs if node.op_type == "Concat" else node.inputs[:1]
        makers = {value: value.producer() for value in values if value is not None}
        if node.op_type == "Concat" or any(maker in tail for maker in makers.values()):
            parts = [
                tail[maker] if maker is not None and maker in tail else (name_of(value),)
                for value, maker in makers.items()
            ]
            tail[node] = tuple(dict.fromkeys(chain.from_iterable(parts)))
    return tail


def _moves(node: ir.Node) -> bool:
    kind = KINDS.get(node.op_type) if node.domain == "" else None
    return kind in ("concat", "data_movement") and constant(node.inputs[0]) is None


def share_like_grids(
    placement: Placement,
    grids: dict[str, QuantParams],
    parts: Iterable[tuple[str, ...]],
) -> Placement:
    """Give parts of like ranges, that an output is made of, one grid; ``grids`` in place.

    Args:
        placement: where grids stand, one for each part.
        grids: the grid of each quantiser.
        parts: the tensors that each output is made of, as far as it is put together.
    """
    renamed: dict[str, str] = {}
    for tensors in parts:
        names = list(dict.fromkeys(_named(placement.tensors[each], renamed) for each in tensors))
        ends = [_ends(grids[name]) for name in names]
        low, high = min(end[0] for end in ends), max(end[1] for end in ends)
        bits = {placement.grids[name].bits for name in names}
        if len(names) < 2 or len(bits) > 1 or _ALIKE * min(b - a for a, b in ends) < high - low:
            continue
        first = names[0]
        if any(grids[name] != grids[first] for name in names):
            spec = dataclasses.replace(placement.grids[first], signed=low < 0)
            grids[first] = activation_grid(spec, low, high)
        renamed.update(dict.fromkeys(names[1:], first))
    return dataclasses.replace(
        placement,
        tensors={name: _named(grid, renamed) for name, grid in placement.tensors.items()},
        edges={edge: _named(grid, renamed) for edge, grid in placement.edges.items()},
    )


def _named(grid: str, renamed: Mapping[str, str]) -> str:
    while grid in renamed:
        grid = renamed[grid]
    return grid


def _ends(grid: QuantParams) -> tuple[float, float]:
    scale, zero = float(grid.scale), int(grid.zero_point)
    return (grid.qmin - zero) * scale, (grid.qmax - zero) * scale
