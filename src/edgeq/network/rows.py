"""Rows of a table, picked by whole numbers that a network is given, such as the tokens of a text.

The numbers stand for themselves: nothing quantises them, and nothing may compute with them.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from edgeq.errors import UsageError

if TYPE_CHECKING:
    from torch import fx


def pick_rows(table: Any, numbers: Any, padding: int = -1) -> Any:
    """The row of each number.

    Args:
        table: (rows, features).
        numbers: whole ones of any type, of any shape.
        padding: the row that is not trained; -1 for none.

    Returns:
        The shape of the numbers, and the features behind it.

    Raises:
        UsageError: a number has no row.
    """
    import torch
    from torch.fx import Proxy

    operands: tuple[Any, ...] = (table, numbers)
    for each in operands:
        if isinstance(each, Proxy):  # while a network is traced, this is one operator
            return each.tracer.create_proxy("call_function", pick_rows, (*operands, padding), {})
    try:
        return torch.embedding(table, numbers.long(), padding)
    except IndexError as error:
        raise UsageError(
            f"a table of {len(table)} rows is asked for the numbers {int(numbers.min())} to "
            f"{int(numbers.max())}",
            hint=f"give numbers from 0 to {len(table) - 1}",
        ) from error


def number_nodes(graph: fx.Graph) -> frozenset[fx.Node]:
    """The nodes that hold the numbers by which :func:`pick_rows` picks, inputs among them."""
    found: set[fx.Node] = set()
    pending = [node.args[1] for node in graph.nodes if node.target is pick_rows]
    while pending:
        node = pending.pop()
        if not isinstance(node, (int, type(None))) and node not in found:
            held: Any = node
            found.add(held)
            pending += held.all_input_nodes
    return frozenset(found)


def rows_of_inputs(module: fx.GraphModule) -> dict[str, int]:
    """How many rows the smallest table has that each input picks from, by the input's name."""
    found: dict[str, int] = {}
    for node in module.graph.nodes:
        if node.target is pick_rows:
            table: Any = node.all_input_nodes[0]
            while table.op != "get_attr":
                table = table.all_input_nodes[0]
            rows = len(operator.attrgetter(str(table.target))(module))
            for source in _inputs(node.args[1]):
                found[source.name] = min(rows, found.get(source.name, rows))
    return found


def _inputs(node: Any) -> list[fx.Node]:
    """The inputs of a network that a node is made of."""
    if node.op == "placeholder":
        return [node]
    return [source for each in node.all_input_nodes for source in _inputs(each)]
