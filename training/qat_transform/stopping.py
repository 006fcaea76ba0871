"""Gradients that a network stops, by ``x.detach()`` or under ``torch.no_grad()``.

They stop in its quantised copy too.

A trace follows tensors and not autograd's modes, so it would train what the network holds fixed,
and nobody would be told.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from torch import Tensor, fx, nn

from edgeq.numerics.functions import function_name
from edgeq.training.qat_transform.normal_form.functional_to_module import unused_path

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


class StopGradient(nn.Module):
    """Passes its input on, and no gradient back."""

    inactive_in_evaluation = True

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of ``x``."""
        return x.detach()


def stop_gradients(graph_module: fx.GraphModule, held: Collection[fx.Node]) -> None:
    """Insert :class:`StopGradient` where a network detaches or computes without gradients.

    It moves behind the unary elementwise functions that follow, so that a layer keeps its ReLU, and
    is left out where nothing is trained in front of it.

    Args:
        graph_module: as traced; changed in place.
        held: the nodes that were traced while gradients were switched off.
    """
    stops = []
    for node in list(graph_module.graph.nodes):
        if _detaches(node):
            node.op, node.target, node.args, node.kwargs = "call_module", "", (node.args[0],), {}
            stops.append(node)
    inside = _with_their_parts(held)
    for node in inside:
        readers = [user for user in node.users if user not in inside]
        if readers:
            with graph_module.graph.inserting_after(node):
                stop = graph_module.graph.call_module("", (node,))
            stop.meta = {**node.meta}
            for reader in readers:
                reader.replace_input_with(node, stop)
            stops.append(stop)
    _place(graph_module, stops)


def _detaches(node: fx.Node) -> bool:
    """``x.detach()``, ``torch.detach(x)`` or ``x.data``."""
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    if name == "getattr" and node.op == "call_function":
        return node.args[1:] == ("data",)
    return node.op in ("call_method", "call_function") and name == "detach"


def _with_their_parts(held: Collection[fx.Node]) -> list[fx.Node]:
    """With the parts of a chunk or split that are taken outside: a stop stands behind a tensor."""
    found = [node for node in held if node.op.startswith("call_")]
    for node in found:
        found += [
            user
            for user in node.users
            if getattr(user.target, "__name__", "") == "getitem" and user not in found
        ]
    return found


def _place(graph_module: fx.GraphModule, stops: Iterable[fx.Node]) -> None:
    path, trained = None, _trained(graph_module)
    for stop in stops:
        source = stop.all_input_nodes[0]
        if source not in trained:
            stop.replace_all_uses_with(source)
            graph_module.graph.erase_node(stop)
            continue
        if path is None:
            path = unused_path(graph_module, "stop_gradient")
            graph_module.add_submodule(path, StopGradient())
        stop.target = path
        _move_behind_functions(graph_module, stop)


def _trained(graph_module: fx.GraphModule) -> set[fx.Node]:
    """The tensors that a parameter has had a part in."""
    found: set[fx.Node] = set()
    for node in graph_module.graph.nodes:
        own = (
            node.op == "call_module"
            and node.target
            and any(True for _ in graph_module.get_submodule(str(node.target)).parameters())
        )
        if node.op == "get_attr":
            own = isinstance(operator.attrgetter(str(node.target))(graph_module), nn.Parameter)
        if own or any(source in found for source in node.all_input_nodes):
            found.add(node)
    return found


def _move_behind_functions(graph_module: fx.GraphModule, stop: fx.Node) -> None:
    reader = next(iter(stop.users), None)
    while reader is not None and len(stop.users) == 1 and _is_function(graph_module, reader):
        source: Any = stop.args[0]
        stop.replace_all_uses_with(source)
        reader.append(stop)
        reader.replace_all_uses_with(stop)
        stop.args = (reader,)
        stop.meta = {**reader.meta}
        reader = next(iter(stop.users), None)


def _is_function(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node is a unary elementwise function that has nothing to train."""
    if not node.op.startswith("call_") or len(node.all_input_nodes) != 1:
        return False
    called = (
        graph_module.get_submodule(str(node.target)) if node.op == "call_module" else node.target
    )
    return function_name(called) is not None and not isinstance(called, nn.PReLU)
