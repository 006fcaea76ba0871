"""Functions of one tensor that a graph spells in several nodes: nothing is stored between them.

``x * Sigmoid(x)``, ``Relu6(x + 3) / 6``, Gelu in terms of Erf: the result depends on one stored
integer only, so the whole is a table for integer kernels. What belongs together here is what the
reader of QDQ files takes together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.calibration._nodes import argument, constant, number, output
from edgeq.numerics.pointwise import BINARY, UNARY

if TYPE_CHECKING:
    import onnx_ir as ir

CLIPS = frozenset(("Relu", "Clip"))


@dataclass(frozen=True, slots=True)
class Function:
    """Nodes that are one function of one tensor.

    Attributes:
        source: the tensor.
        nodes: the nodes, in order, the last of which makes the result.
    """

    source: ir.Value
    nodes: tuple[ir.Node, ...]


def functions_of(graph: ir.Graph) -> dict[ir.Node, Function]:
    """Every function by its last node.

    A Relu or Clip alone is none: it belongs to what it reads.
    """
    found: dict[ir.Value, Function] = {}
    for node in graph:
        if node.domain == "":
            _visit(node, found)
    return {function.nodes[-1]: function for function in found.values()}


def is_clip(node: ir.Node | None) -> bool:
    """Whether a node clips to constant numbers and does no more."""
    if node is None or node.domain != "" or node.op_type not in CLIPS:
        return False
    return all(
        argument(node, place) is None or number(argument(node, place)) is not None
        for place in (1, 2)
    )


def _visit(node: ir.Node, found: dict[ir.Value, Function]) -> None:
    operands = [value for value in node.inputs if value is not None and constant(value) is None]
    numbers = [value for value in node.inputs if value is not None and number(value) is not None]
    if (
        is_clip(node)
        or (node.op_type in UNARY and len(operands) == len(node.inputs) == 1)
        or (
            node.op_type in BINARY
            and len(node.inputs) == 2
            and len(operands) == len(numbers) == 1
            and _keeps_shape(node, operands[0])
        )
    ):
        _add_to_one(node, operands[0], found)
    elif node.op_type in BINARY and len(operands) == len(node.inputs) == 2:
        _join_two(node, operands, found)


def _keeps_shape(node: ir.Node, source: ir.Value) -> bool:
    return (
        source.shape is None
        or output(node).shape is None
        or len(source.shape) == len(output(node).shape or ())
    )


def _add_to_one(node: ir.Node, source: ir.Value, found: dict[ir.Value, Function]) -> None:
    before = found.get(source)
    if before is not None and _private((before.nodes[-1],), {node}):
        del found[source]
        found[output(node)] = Function(before.source, (*before.nodes, node))
    elif not is_clip(node):
        found[output(node)] = Function(source, (node,))


def _join_two(node: ir.Node, operands: list[ir.Value], found: dict[ir.Value, Function]) -> None:
    """Two functions of one tensor, or one with the tensor itself."""
    candidates = [*operands, *(found[value].source for value in operands if value in found)]
    for source in candidates:
        parts = [value for value in operands if value is not source]
        functions = [
            found[value]
            for value in dict.fromkeys(parts)
            if value in found and found[value].source is source
        ]
        inner = tuple(dict.fromkeys(each for function in functions for each in function.nodes))
        if functions and len(functions) == len(set(parts)) and _private(inner, {*inner, node}):
            for value in parts:
                found.pop(value, None)
            found[output(node)] = Function(source, (*inner, node))
            return


def _private(nodes: tuple[ir.Node, ...], members: set[ir.Node]) -> bool:
    """Whether nobody outside reads the nodes."""
    return all(
        not output(node).is_graph_output()
        and all(user in members for user, _ in output(node).uses())
        for node in nodes
    )
