"""A fully connected layer on every place of an image, or on every token of a sequence, as the convolution of one pixel that it is.

Integer runtimes and file formats know that convolution with all that belongs to it: a bias, a scale for each channel, a ReLU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from edgeq.functions import function_name

_RANKS = (3, 4)
_DROPOUT = nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.AlphaDropout


def convolve_tokens(graph_module: fx.GraphModule) -> None:
    """Put a Conv2d in the place of each Linear that reads more axes than batch and features, its channels moved to the front and back.

    Moves that undo each other are left out then, so that a ReLU stays with its layer. How many axes there are, an example has told.

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
            _move_channels(graph_module.graph, node)
    for move in (torch.permute, torch.unflatten):
        for node in list(graph_module.graph.nodes):
            if node.target is move:
                _leave_out(graph_module, node)


def _readers(graph_module: fx.GraphModule) -> dict[nn.Parameter, list[fx.Node]]:
    """The calls of modules that have a weight, by that weight."""
    found: dict[nn.Parameter, list[fx.Node]] = {}
    for node in graph_module.graph.nodes:
        weight = getattr(graph_module.get_submodule(str(node.target)), "weight", None) if node.op == "call_module" else None
        if isinstance(weight, nn.Parameter):
            found.setdefault(weight, []).append(node)
    return found


def _convolution(layer: Any, kernel: nn.Parameter) -> nn.Conv2d:
    twin = nn.Conv2d(layer.in_features, layer.out_features, 1, bias=False, device="meta")
    twin.weight, twin.bias = kernel, layer.bias
    return twin.train(layer.training)


def _move_channels(graph: fx.Graph, node: fx.Node) -> None:
    """Bring the last axis, that of the channels, to where a convolution has it, and back; tokens are the pixels of one row."""
    source: Any = node.args[0]
    readers, (batch, *places, outs) = list(node.users), node.meta["shape"]
    ins = source.meta["shape"][-1]
    with graph.inserting_before(node):
        if len(places) == 1:
            moved = _call(graph, torch.permute, source, (0, 2, 1), shape=(batch, ins, *places))
            node.args = (_reshaped(graph, moved, (batch, ins, 1, *places)),)
        else:
            node.args = (_call(graph, torch.permute, source, (0, 3, 1, 2), shape=(batch, ins, *places)),)
    with graph.inserting_after(node):
        back = _call(graph, torch.permute, node, (0, 2, 1) if len(places) == 1 else (0, 2, 3, 1), shape=(batch, *places, outs))
    if len(places) == 1:
        with graph.inserting_before(back):
            back.replace_input_with(node, _reshaped(graph, node, (batch, outs, *places)))
    node.meta["shape"] = (batch, outs, *[1][: 2 - len(places)], *places)
    for reader in readers:
        reader.replace_input_with(node, back)


def _reshaped(graph: fx.Graph, source: fx.Node, shape: tuple[int, ...]) -> fx.Node:
    return _call(graph, torch.unflatten, _call(graph, torch.flatten, source, 1), 1, shape[1:], shape=shape)


def _call(graph: fx.Graph, function: Any, *arguments: Any, shape: tuple[int, ...] | None = None) -> fx.Node:
    node = graph.call_function(function, arguments)
    if shape is not None:
        node.meta["shape"] = shape
    return node


def _leave_out(graph_module: fx.GraphModule, node: fx.Node) -> None:
    """Drop a permutation or reshape that undoes an earlier one, with nothing between them but functions of single numbers."""
    between: list[fx.Node] = []
    source = _moved(node)
    while _ignores_axes(graph_module, source) and len(source.users) == 1:
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
    return source.all_input_nodes[0] if node.target is torch.unflatten and source.target is torch.flatten else source


def _undoes(later: fx.Node, earlier: fx.Node) -> bool:
    if later.target is not earlier.target or "shape" not in later.meta:
        return False
    if later.target is torch.unflatten:
        return bool(_moved(earlier).meta.get("shape") == later.meta["shape"])
    axes: Any = earlier.args[1]
    return [axes[axis] % len(axes) for axis in later.args[1]] == list(range(len(axes)))  # type: ignore[union-attr]


def _ignores_axes(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    if not node.op.startswith("call_") or len(node.all_input_nodes) != 1:
        return False
    called = graph_module.get_submodule(str(node.target)) if node.op == "call_module" else node.target
    if isinstance(called, nn.PReLU):
        return called.num_parameters == 1
    return isinstance(called, _DROPOUT) or function_name(called) is not None
