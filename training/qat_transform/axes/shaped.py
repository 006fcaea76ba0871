"""Calls that are added to a graph, with the shape of what they make."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch
from torch.fx.node import map_arg

from edgeq.errors import UsageError

if TYPE_CHECKING:
    from torch import fx


def shaped_call(graph: fx.Graph, function: Any, *arguments: Any) -> fx.Node:
    """A call whose result has the shape that follows from its arguments.

    Args:
        graph: the call is added at its insertion point.
        function: of torch, that gives one tensor.
        arguments: with nodes of known shapes where it takes tensors.
    """
    node = graph.call_function(function, arguments)
    made = function(*map_arg(arguments, lambda each: torch.empty(shape_of(each), device="meta")))
    node.meta["shape"] = tuple(made.shape)
    return node


def shape_of(node: Any) -> tuple[int, ...]:
    """The shape of what a node makes, batch included, as an example has told it.

    Raises:
        UsageError: there was no example.
    """
    shape: tuple[int, ...] | None = node.meta.get("shape")
    if shape is None:
        raise UsageError(
            f"what becomes of {node.name} depends on its size, which is not known",
            hint="give an example of the input to edgeq.quantize",
        )
    return shape


def is_constant(node: fx.Node) -> bool:
    """Whether nothing but parameters, buffers and numbers goes into a tensor."""
    return node.op == "get_attr" or (
        node.op in ("call_function", "call_method")
        and all(is_constant(each) for each in node.all_input_nodes)
    )


def is_trained(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a parameter that is trained goes into a constant."""
    if node.op == "get_attr":
        return bool(operator.attrgetter(str(node.target))(graph_module).requires_grad)
    return any(is_trained(graph_module, each) for each in node.all_input_nodes)


def tell_constant_shapes(graph_module: fx.GraphModule, batch: int) -> None:
    """Note the shape of each parameter and buffer, and take one sample of those that have a batch.

    Args:
        graph_module: changed in place.
        batch: how many samples an example had, by which the network may have repeated a constant.
    """
    graph = graph_module.graph
    for node in list(graph.nodes):
        if node.op == "get_attr":
            value = operator.attrgetter(str(node.target))(graph_module)
            if isinstance(value, torch.Tensor):
                node.meta["shape"] = tuple(value.shape)
        shape = node.meta.get("shape", ())
        if shape[:1] != (batch,) or not is_constant(node):
            continue
        readers = [
            each
            for each in node.users
            if not is_constant(each) and len(each.meta.get("shape", ())) == len(shape)
        ]
        if readers and _is_repeated(graph_module, node):
            with graph.inserting_after(node):
                one = graph.call_function(operator.getitem, (node, slice(0, 1)))
            one.meta["shape"] = (1, *shape[1:])
            for reader in readers:
                reader.replace_input_with(node, one)


def _is_repeated(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether all samples of a constant are the same."""
    value = constant_value(graph_module, node)
    return bool((value == value[:1]).all())


def constant_value(graph_module: fx.GraphModule, node: fx.Node) -> torch.Tensor:
    """What a constant is now."""
    with torch.no_grad():
        value: torch.Tensor = _computed(graph_module, node)
    return value


def _computed(graph_module: fx.GraphModule, node: fx.Node) -> Any:
    if node.op == "get_attr":
        return operator.attrgetter(str(node.target))(graph_module)
    args, kwargs = map_arg((node.args, node.kwargs), lambda each: _computed(graph_module, each))
    target: Any = node.target
    return (
        getattr(args[0], target)(*args[1:], **kwargs)
        if node.op == "call_method"
        else target(*args, **kwargs)
    )
