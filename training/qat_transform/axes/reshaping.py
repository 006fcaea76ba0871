"""Reshapes that keep the batch's axis, as flattening and unflattening."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from edgeq.errors import UsageError
from edgeq.network.calls import argument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_REDUCTIONS = (torch.sum, torch.mean, torch.amax)


def _reshape(graph: fx.Graph, node: fx.Node) -> None:
    source, wanted = node.args[0], _wanted(node)
    have = source.meta.get("shape") if isinstance(source, fx.Node) else None
    made = node.meta.get("shape")
    if have is not None and made is not None and len(made) > 1 and made[0] == have[0]:
        write_reshape(graph, node, tuple(made[1:]))
    elif (
        len(wanted) > 1
        and _is_batch(wanted[0])
        and all(isinstance(size, int) for size in wanted[1:])
    ):
        write_reshape(graph, node, wanted[1:])
    else:
        raise UsageError(
            f"{node.name} reshapes in a way that may mix samples",
            hint="write x.flatten(1), or give an example of the input to edgeq.quantize",
        )


def _keep_axis(node: fx.Node, source: Any) -> None:
    """Let one number for each sample, which a node reshapes, keep an axis behind the batch's.

    Raises:
        UsageError: it was not reduced along that axis.
    """
    if source.target not in _REDUCTIONS or len(source.users) > 1:
        raise UsageError(
            f"{node.name} gives an axis to what has none behind the batch's",
            hint="keep the axis where it goes: keepdim=True, or x[:, 0:1]",
        )
    source.args, source.kwargs = (source.args[0], argument(source, 1, "dim"), True), {}
    source.meta["shape"] = (*source.meta["shape"], 1)


def _wanted(node: fx.Node) -> tuple[Any, ...]:
    sizes: Any = node.kwargs.get("shape", node.args[1:])
    return (
        tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], tuple | list) else tuple(sizes)
    )


def _is_batch(size: Any) -> bool:
    """Whether a size is the batch's: ``x.size(0)``, ``x.shape[0]``, or the one left over."""
    if not isinstance(size, fx.Node):
        return bool(size == -1)
    if size.op == "call_method" and size.target == "size":
        return bool(size.args[1:] == (0,))
    return (
        size.target is operator.getitem
        and bool(size.args[1:] == (0,))
        and "shape" in str(size.all_input_nodes[0].args)
    )


def write_reshape(graph: fx.Graph, node: fx.Node, sizes: tuple[int, ...]) -> None:
    """Reshape a node's first argument to these sizes behind the batch's axis."""
    source: Any = node.args[0]
    if len(source.meta.get("shape", (0, 0))) == 1:
        _keep_axis(node, source)
    if len(sizes) == 1:
        node.target, node.args, node.kwargs = torch.flatten, (source, 1), {}
        return
    if len(source.meta.get("shape", ())) != 2:
        with graph.inserting_before(node):
            source = graph.call_function(torch.flatten, (source, 1))
    node.target, node.args, node.kwargs = torch.unflatten, (source, 1, sizes), {}


def reshaped(graph: fx.Graph, source: fx.Node, shape: tuple[int, ...]) -> fx.Node:
    """A node that reshapes a tensor behind the batch's axis; ``shape`` includes the batch."""
    rank = len(source.meta.get("shape", ()))
    flat = (
        source
        if rank == 2
        else call_shaped(graph, torch.flatten, source, 1, shape=(shape[0], math.prod(shape[1:])))
    )
    return (
        call_shaped(graph, torch.unflatten, flat, 1, shape[1:], shape=shape)
        if len(shape) > 2
        else flat
    )


def call_shaped(graph: fx.Graph, function: Any, *arguments: Any, shape: tuple[int, ...]) -> fx.Node:
    """A call, with the shape of what it gives, as tracing with an example notes it."""
    node = graph.call_function(function, arguments)
    node.meta["shape"] = shape
    return node


def _if_needed(graph: fx.Graph, node: fx.Node) -> None:
    """Flattening from axis 1 on is canonical.

    All else moves axes about, which an example tells the sizes of.
    """
    if (argument(node, 1, "start_dim", 0), argument(node, 2, "end_dim", -1)) != (1, -1):
        _reshape(graph, node)


RESHAPES: Mapping[Any, Callable[[fx.Graph, fx.Node], None]] = {
    torch.reshape: _reshape,
    torch.squeeze: _reshape,
    torch.unsqueeze: _reshape,
    torch.unflatten: _reshape,
    torch.flatten: _if_needed,
}
"""The functions of torch that only give a tensor other axes."""
