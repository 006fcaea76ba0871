"""Comparisons, logic and choices between tensors, as arithmetic with 0 and 1.

What is compared is subtracted, and a table of the difference says which is greater. A choice is a
sum of one side and, where the condition holds, what the other has beyond it.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import torch

from edgeq.errors import UsageError
from edgeq.network.calls import argument
from edgeq.training.qat_transform.axes.shaped import is_constant, shaped_call

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import fx


def write_conditions(graph: fx.Graph) -> None:
    """Rewrite a graph in place.

    Raises:
        UsageError: a choice fills with infinity.
    """
    for node in list(graph.nodes):
        rewrite = _CONDITIONS.get(node.target) if node.op == "call_function" else None
        if rewrite is None or is_constant(node):
            continue
        with graph.inserting_before(node):
            made = rewrite(graph, node)
        node.replace_all_uses_with(made)
        graph.erase_node(node)


def _above(graph: fx.Graph, one: Any, other: Any) -> fx.Node:
    """1 where one side is greater than the other, else 0."""
    found = shaped_call(graph, operator.sub, one, other)
    return shaped_call(graph, torch.relu, shaped_call(graph, torch.sign, found))


def _greater(graph: fx.Graph, node: fx.Node) -> fx.Node:
    return _above(graph, *node.args[:2])


def _less(graph: fx.Graph, node: fx.Node) -> fx.Node:
    one, other = node.args[:2]
    return _above(graph, other, one)


def _not(graph: fx.Graph, condition: Any) -> fx.Node:
    return shaped_call(graph, operator.sub, 1.0, condition)


def _different(graph: fx.Graph, node: fx.Node) -> fx.Node:
    found = shaped_call(graph, operator.sub, *node.args[:2])
    return shaped_call(graph, torch.abs, shaped_call(graph, torch.sign, found))


def _and(graph: fx.Graph, node: fx.Node) -> fx.Node:
    return shaped_call(graph, operator.mul, *_truths(graph, node))


def _or(graph: fx.Graph, node: fx.Node) -> fx.Node:
    one, other = _truths(graph, node)
    left = shaped_call(graph, operator.mul, _not(graph, one), other)
    return shaped_call(graph, operator.add, one, left)


def _truths(graph: fx.Graph, node: fx.Node) -> list[fx.Node]:
    return [_numbers(graph, each) for each in node.all_input_nodes]


def _numbers(graph: fx.Graph, condition: fx.Node) -> fx.Node:
    """A condition as 0 and 1; what is computed here is that already."""
    if not is_constant(condition):
        return condition
    made = graph.call_function(operator.mul, (condition, 1.0))
    made.meta["shape"] = condition.meta["shape"]
    return made


def _where(graph: fx.Graph, node: fx.Node) -> fx.Node:
    names = ("condition", "input", "other")
    condition, one, other = (argument(node, at, name) for at, name in enumerate(names))
    return _chosen(graph, node, condition, one, other)


def _filled(graph: fx.Graph, node: fx.Node) -> fx.Node:
    names = ("input", "mask", "value")
    source, condition, value = (argument(node, at, name) for at, name in enumerate(names))
    return _chosen(graph, node, condition, value, source)


def _chosen(graph: fx.Graph, node: fx.Node, condition: Any, one: Any, other: Any) -> fx.Node:
    """One side where a condition holds, else the other."""
    if not isinstance(condition, torch.fx.Node) or any(
        isinstance(each, int | float) and not math.isfinite(each) for each in (one, other)
    ):
        raise UsageError(
            f"{node.name} fills with infinity where the network computes that it should",
            hint="fill with a number below all scores, such as -20; or let the mask be constant, "
            "in front of a softmax",
        )
    holds = _numbers(graph, condition)
    if other == 0:
        return shaped_call(graph, operator.mul, holds, one)
    beyond = (
        one - other
        if not isinstance(one, torch.fx.Node) and not isinstance(other, torch.fx.Node)
        else shaped_call(graph, operator.sub, one, other)
    )
    return shaped_call(graph, operator.add, shaped_call(graph, operator.mul, holds, beyond), other)


_CONDITIONS: Mapping[Any, Callable[[fx.Graph, fx.Node], fx.Node]] = {
    **dict.fromkeys((operator.gt, torch.gt, torch.greater), _greater),
    **dict.fromkeys((operator.lt, torch.lt, torch.less), _less),
    **dict.fromkeys(
        (operator.ge, torch.ge, torch.greater_equal),
        lambda graph, node: _not(graph, _less(graph, node)),
    ),
    **dict.fromkeys(
        (operator.le, torch.le, torch.less_equal),
        lambda graph, node: _not(graph, _greater(graph, node)),
    ),
    **dict.fromkeys((operator.ne, torch.ne, torch.not_equal), _different),
    **dict.fromkeys(
        (operator.eq, torch.eq), lambda graph, node: _not(graph, _different(graph, node))
    ),
    **dict.fromkeys((operator.and_, torch.logical_and, torch.bitwise_and), _and),
    **dict.fromkeys((operator.or_, torch.logical_or, torch.bitwise_or), _or),
    **dict.fromkeys(
        (operator.invert, torch.logical_not, torch.bitwise_not),
        lambda graph, node: _not(graph, node.args[0]),
    ),
    torch.where: _where,
    torch.masked_fill: _filled,
}
