"""What belongs to a layer though it stands behind it.

The BatchNorm that alone reads it, and constant factors.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from edgeq.errors import UsageError
from edgeq.training.qat_transform.axes.lines import norm_of_images
from edgeq.training.qat_transform.axes.reshaping import reshaped
from edgeq.training.qat_transform.operators import is_bn, module_of

if TYPE_CHECKING:
    from collections.abc import Mapping


def drop_inactive(graph_module: fx.GraphModule) -> None:
    """Identity computes nothing, and would part a layer from its BatchNorm."""
    for node in list(graph_module.graph.nodes):
        if isinstance(module_of(graph_module, node), nn.Identity):
            node.replace_all_uses_with(node.args[0])
            graph_module.graph.erase_node(node)


def absorb_constants(graph_module: fx.GraphModule) -> dict[fx.Node, float]:
    """``a - c * layer(u)`` becomes ``a + layer(u)`` with the gain ``-c`` in the layer.

    Returns gain by last node of the layer.
    """
    graph = graph_module.graph
    gains: dict[fx.Node, float] = {}
    for node in list(graph.nodes):
        if (found := _constant_factor(node)) is not None:
            source, factor = found
            if len(source.users) == 1 and _ends_layer(graph_module, source):
                gains[source] = gains.get(source, 1.0) * factor
                node.replace_all_uses_with(source)
                graph.erase_node(node)
    for node in list(graph.nodes):
        if (
            node.target in (operator.sub, torch.sub)
            and not node.kwargs
            and _subtracts_layer(graph_module, node)
        ):
            branch = node.args[1]
            gains[branch] = -gains.get(branch, 1.0)
            node.target = operator.add
    return gains


def _constant_factor(node: fx.Node) -> tuple[fx.Node, float] | None:
    """What a node multiplies with a number, or divides by one, and the factor."""
    if node.target is torch.neg and isinstance(node.args[0], fx.Node):
        return node.args[0], -1.0
    if node.target not in (operator.mul, operator.truediv):
        return None
    a, b = node.args
    if isinstance(a, fx.Node) and isinstance(b, int | float):
        divides = node.target is operator.truediv
        return None if divides and not b else (a, 1 / b if divides else float(b))
    multiplies = node.target is operator.mul
    return (
        (b, float(a))
        if multiplies and isinstance(b, fx.Node) and isinstance(a, int | float)
        else None
    )


def _ends_layer(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    return is_bn(graph_module, node) or isinstance(
        module_of(graph_module, node), nn.Conv2d | nn.ConvTranspose2d | nn.Linear
    )


def _subtracts_layer(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    branch = node.args[1]
    return (
        isinstance(branch, fx.Node) and len(branch.users) == 1 and _ends_layer(graph_module, branch)
    )


def keep_gain(graph_module: fx.GraphModule, node: fx.Node, gains: Mapping[fx.Node, float]) -> None:
    """A layer left in float has nowhere to hide its gain: multiply behind it."""
    if node not in gains:
        return
    with graph_module.graph.inserting_after(node):
        scaled = graph_module.graph.call_function(operator.mul, (node, gains[node]))
    node.replace_all_uses_with(scaled, delete_user_cb=lambda user: user is not scaled)


def norms_behind_layers(graph_module: fx.GraphModule) -> dict[fx.Node, fx.Node]:
    """Layer node to the BatchNorm node that alone reads it.

    A BatchNorm may stand elsewhere too, then it is one of images.

    Raises:
        UsageError: a BatchNorm of features stands elsewhere, and what it reads is not known.
    """
    found: dict[fx.Node, fx.Node] = {}
    for node in list(graph_module.graph.nodes):
        if not is_bn(graph_module, node):
            continue
        layer = node.args[0]
        if (
            _ends_layer(graph_module, layer)
            and not is_bn(graph_module, layer)
            and len(layer.users) == 1
        ):
            found[layer] = node
        elif isinstance(module_of(graph_module, node), nn.BatchNorm1d):
            _normalize_as_image(graph_module, node)
    return found


def _normalize_as_image(graph_module: fx.GraphModule, node: fx.Node) -> None:
    """A BatchNorm1d as BatchNorm2d, which computes the same and can be a layer of its own."""
    features: Any = module_of(graph_module, node)
    shape = node.meta.get("shape")
    if shape is None:
        raise UsageError(
            f"the BatchNorm {node.target!r} does not stand right behind one layer, and "
            "reads a tensor of unknown size",
            hint="give an example of the input to edgeq.quantize",
        )
    graph_module.set_submodule(str(node.target), norm_of_images(features))
    graph, source, readers = graph_module.graph, node.all_input_nodes[0], list(node.users)
    source.meta["shape"] = shape  # it is the same in front of a normalisation
    node.meta["shape"] = (*shape[:2], 1, *(shape[2:] or (1,)))
    with graph.inserting_before(node):
        node.args = (reshaped(graph, source, node.meta["shape"]),)
    with graph.inserting_before(node.next):
        end = reshaped(graph, node, shape)
    for reader in readers:
        reader.replace_input_with(node, end)
