"""Unary elementwise functions after each other, which together are one function, and so one table.

``x * sigmoid(x)``, ``relu6(x + 3) / 6``, ``x * tanh(softplus(x))``: nothing is stored between them,
as the result depends on one stored integer only.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import fx, nn

from edgeq.numerics.functions import FUNCTIONS, bounds, function_name, function_options
from edgeq.training.qat_transform.axes.shaped import is_constant

if TYPE_CHECKING:
    from collections.abc import Iterable

ARITHMETIC = (operator.add, operator.sub, operator.mul, operator.truediv)


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes that are one function of one tensor.

    Attributes:
        source: the tensor.
        members: the nodes, the last one included.
        not_negative: whether no result is below zero.
    """

    source: fx.Node
    members: frozenset[fx.Node]
    not_negative: bool


def groups_of(graph_module: fx.GraphModule) -> dict[fx.Node, Group]:
    """Every group by its last node. A ReLU alone is none: it belongs to what it reads."""
    finder = _Finder(graph_module)
    for node in graph_module.graph.nodes:
        if not is_constant(node):
            finder.visit(node)
    return {
        node: group
        for node, group in finder.groups.items()
        if len(group.members) > 1 or not finder.clips_at_zero(node)
    }


def is_relu(called: Any, node: fx.Node) -> bool:
    """Whether what a node calls, a module or a function, is a ReLU of any kind.

    It clips, at zero below, and does no more.
    """
    name = function_name(called)
    limits = (
        None
        if name is None
        else bounds(name, function_options(name, called, node.args[1:], node.kwargs))
    )
    return limits is not None and limits[0] == 0


class _Finder:
    def __init__(self, graph_module: fx.GraphModule) -> None:
        self._graph_module = graph_module
        self.groups: dict[fx.Node, Group] = {}

    def visit(self, node: fx.Node) -> None:
        """Found a group on a node, or let it join those of what it reads."""
        operands = [argument for argument in node.args if isinstance(argument, fx.Node)]
        name = function_name(self._called(node)) if node.op.startswith("call_") else None
        if (name is not None and self._one_number(node)) or (
            len(operands) == 1 and self._with_a_number(node)
        ):
            self._add_to_one(node, operands[0], name)
        elif node.target in (operator.mul, operator.truediv) and len(operands) == 2:
            self._join_two(node, *operands)

    def clips_at_zero(self, node: fx.Node) -> bool:
        """Whether a node is a ReLU of any kind."""
        return node.op.startswith("call_") and is_relu(self._called(node), node)

    def _called(self, node: fx.Node) -> Any:
        return (
            self._graph_module.get_submodule(str(node.target))
            if node.op == "call_module"
            else node.target
        )

    def _options(self, node: fx.Node, name: str) -> dict[str, Any]:
        return function_options(name, self._called(node), node.args[1:], node.kwargs)

    def _one_number(self, node: fx.Node) -> bool:
        called = self._called(node)
        return not isinstance(called, nn.PReLU) or called.num_parameters == 1

    def _with_a_number(self, node: fx.Node) -> bool:
        numbers = [argument for argument in node.args if isinstance(argument, int | float)]
        return (
            node.target in ARITHMETIC
            and len(node.args) == 2
            and len(numbers) == 1
            and not node.kwargs
        )

    def _add_to_one(self, node: fx.Node, source: fx.Node, name: str | None) -> None:
        before = self.groups.get(source)
        alone = before is not None and len(before.members) == 1 and self.clips_at_zero(source)
        if before is None or alone or set(source.users) != {node}:
            if not self.clips_at_zero(node) or before is not None:
                self.groups[node] = Group(
                    source, frozenset({node}), self._not_negative(node, name, inside=False)
                )
            return
        not_negative = self._not_negative(node, name, inside=before.not_negative)
        self._replace(Group(before.source, before.members | {node}, not_negative), node, [source])

    def _join_two(self, node: fx.Node, one: fx.Node, other: fx.Node) -> None:
        """A product or quotient of two functions of one tensor, or of one with the tensor."""
        for source in (
            one,
            other,
            *(self.groups[each].source for each in (one, other) if each in self.groups),
        ):
            parts = [each for each in (one, other) if each is not source]
            groups = [
                self.groups[each]
                for each in parts
                if each in self.groups and self.groups[each].source is source
            ]
            members = frozenset({node}.union(*(group.members for group in groups)))
            if groups and len(groups) == len(parts) and _private(members - {node}, members):
                not_negative = len(parts) == 2 and all(group.not_negative for group in groups)
                self._replace(Group(source, members, not_negative), node, parts)
                return

    def _replace(self, group: Group, node: fx.Node, parts: Iterable[fx.Node]) -> None:
        for part in parts:
            self.groups.pop(part, None)
        self.groups[node] = group

    def _not_negative(self, node: fx.Node, name: str | None, *, inside: bool) -> bool:
        if name is None:  # with a number
            number = next(argument for argument in node.args if isinstance(argument, int | float))
            return inside and number >= 0 and node.target is not operator.sub
        limits = bounds(name, self._options(node, name))
        return FUNCTIONS[name].not_negative or (
            limits is not None and limits[0] is not None and limits[0] >= 0
        )


def _private(nodes: Iterable[fx.Node], members: frozenset[fx.Node]) -> bool:
    """Whether nobody outside reads the nodes."""
    return all(set(node.users) <= members for node in nodes)
