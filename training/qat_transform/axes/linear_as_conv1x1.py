"""A linear layer on every pixel or token, as the 1x1 convolution that it is.

Integer runtimes and file formats know that convolution with all that belongs to it: a bias, a scale
for each channel, a ReLU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from edgeq.numerics.functions import function_name
from edgeq.training.qat_transform.axes.reshaping import call_shaped, reshaped

_RANKS = (3, 4)
# those that drop whole channels know which axis that is
_POINTWISE = nn.Dropout | nn.AlphaDropout | nn.Identity


def convolve_tokens(graph_module: fx.GraphModule) -> None:
    """Replace each Linear that reads more axes than batch and features by a Conv2d.

    Its channels move to axis 1 in front of it and back behind it.

    Moves that undo each other are left out then, so that a ReLU stays with its layer. How many axes
    there are, an example has told.

    Args:
        graph_module: otherwise canonical; changed in place.
    """
    for weight, nodes in _readers(graph_module).items():
        modules = {str(node.target): graph_module.get_submodule(str(node.target)) for node in nodes}
        linear = all(type(module) is nn.Linear for module in modules.values())
        if not linear or not all(len(node.meta.get("shape", ())) in _RANKS for node in nodes):
            continue  # one weight cannot have two shapes
        kernel = nn.Parameter(weight.detach()[:, :, None, None], requires_grad=weight.requires_grad)
        for path, module in modules.items():
            graph_module.set_submodule(path, _convolution(module, kernel))
        for node in nodes:
            move_channels(graph_module.graph, node)
    for move in (torch.permute, torch.unflatten):
        for node in list(graph_module.graph.nodes):
            if node.target is move:
                _leave_out(graph_module, node)


def _readers(graph_module: fx.GraphModule) -> dict[nn.Parameter, list[fx.Node]]:
    """The calls of modules that have a weight, by that weight."""
    found: dict[nn.Parameter, list[fx.Node]] = {}
    for node in graph_module.graph.nodes:
        weight = (
            getattr(graph_module.get_submodule(str(node.target)), "weight", None)
            if node.op == "call_module"
            else None
        )
        if isinstance(weight, nn.Parameter):
            found.setdefault(weight, []).append(node)
    return found


def _convolution(layer: Any, kernel: nn.Parameter) -> nn.Conv2d:
    twin = nn.Conv2d(layer.in_features, layer.out_features, 1, bias=False, device="meta")
    twin.weight, twin.bias = kernel, layer.bias
    return twin.train(layer.training)


def move_channels(graph: fx.Graph, node: fx.Node) -> fx.Node:
    """Move the channels from the last axis to where image nodes have them, and back.

    Tokens become the pixels of one row, and features those of an image of one pixel.

    Args:
        graph: the graph.
        node: reads a tensor of 2 to 4 axes that an example has told; in front of its only input and
            behind it something is inserted.

    Returns:
        The node that has its result with the channels last.
    """
    readers, (batch, *places, channels) = list(node.users), node.meta["shape"]
    row, last = (1,) * (2 - len(places)), len(places) + 1
    with graph.inserting_before(node):
        node.args = (as_image(graph, node.args[0]),)
    node.meta["shape"] = (batch, channels, *row, *places)
    with graph.inserting_before(node.next):
        end = reshaped(graph, node, (batch, channels, *places)) if row else node
        if places:
            end = call_shaped(
                graph,
                torch.permute,
                end,
                (0, *range(2, last + 1), 1),
                shape=(batch, *places, channels),
            )
    for reader in readers:
        reader.replace_input_with(node, end)
    return end


def as_image(graph: fx.Graph, source: Any) -> fx.Node:
    """A channels-last tensor of 2 to 4 known axes as (n, channels, height, width)."""
    batch, *places, channels = source.meta["shape"]
    last = len(places) + 1
    if places:
        source = call_shaped(
            graph,
            torch.permute,
            source,
            (0, last, *range(1, last)),
            shape=(batch, channels, *places),
        )
    return (
        source
        if len(places) == 2
        else reshaped(graph, source, (batch, channels, *(1,) * (2 - len(places)), *places))
    )


def _leave_out(graph_module: fx.GraphModule, node: fx.Node) -> None:
    """Drop a permutation or reshape that undoes an earlier one.

    Only unary elementwise operators may lie between them.
    """
    between: list[fx.Node] = []
    source = _moved(node)
    while ignores_axes(graph_module, source) and len(source.users) == 1:
        between.append(source)
        source = source.all_input_nodes[0]
    if not _undoes(node, source):
        return
    if between:
        between[-1].replace_input_with(source, _moved(source))
    for each in between:
        each.meta["shape"] = node.meta["shape"]
    node.replace_all_uses_with(between[0] if between else _moved(source))
    graph_module.graph.erase_node(node)


def _moved(node: fx.Node) -> fx.Node:
    """What a permutation, or a reshape, which flattens first, puts into other places."""
    source = node.all_input_nodes[0]
    return (
        source.all_input_nodes[0]
        if node.target is torch.unflatten and source.target is torch.flatten
        else source
    )


def _undoes(later: fx.Node, earlier: fx.Node) -> bool:
    if later.target is not earlier.target or "shape" not in later.meta:
        return False
    if later.target is torch.unflatten:
        return bool(_moved(earlier).meta.get("shape") == later.meta["shape"])
    axes: Any = earlier.args[1]
    back: Any = later.args[1]
    return [axes[axis] % len(axes) for axis in back] == list(range(len(axes)))


def ignores_axes(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node computes with each number of one tensor for itself."""
    if not node.op.startswith("call_") or len(node.all_input_nodes) != 1:
        return False
    called = (
        graph_module.get_submodule(str(node.target)) if node.op == "call_module" else node.target
    )
    if isinstance(called, nn.PReLU):
        return called.num_parameters == 1
    return isinstance(called, _POINTWISE) or function_name(called) is not None
