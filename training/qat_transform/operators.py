"""The operators of torch that can be quantised, in the words of the placement rules."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from edgeq.errors import UsageError
from edgeq.network.calls import name_of
from edgeq.network.layer_protocols import Inactive
from edgeq.network.placement import Op, OperatorKind
from edgeq.network.pooling import POOL_OPTIONS, pool_operators, read_pooling
from edgeq.network.rows import number_nodes, pick_rows
from edgeq.training.qat_transform.axes.shaped import (
    constant_value,
    is_constant,
    is_trained,
)
from edgeq.training.qat_transform.normal_form.channel_constants import ChannelAffine
from edgeq.training.qat_transform.normal_form.function_groups import groups_of, is_relu
from edgeq.training.qat_transform.normal_form.functional_to_module import HeldNorm
from edgeq.training.qat_transform.normal_form.norms import MIN_BITS
from edgeq.training.qat_transform.normal_form.upsampling import LINEAR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from edgeq.training.qat_transform.normal_form.function_groups import Group

_POOLING: Mapping[Any, OperatorKind] = dict.fromkeys(pool_operators(), "pool")
_MODULES: Mapping[Any, OperatorKind] = {
    **{kind: pool for kind, pool in _POOLING.items() if isinstance(kind, type)},
    nn.Conv2d: "layer",
    nn.ConvTranspose2d: "layer",
    nn.Linear: "layer",
    nn.BatchNorm2d: "norm",
    ChannelAffine: "norm",
    HeldNorm: "norm",
    nn.SyncBatchNorm: "norm",
    nn.LayerNorm: "function",
    nn.Flatten: "data_movement",
    nn.Dropout: "data_movement",
    nn.Dropout1d: "data_movement",
    nn.Dropout2d: "data_movement",
    nn.AlphaDropout: "data_movement",
}
_FUNCTIONS: Mapping[Any, OperatorKind] = {
    **_POOLING,
    operator.add: "add",
    torch.add: "add",
    operator.sub: "function",
    operator.mul: "mul",
    torch.matmul: "mul",
    torch.softmax: "function",
    torch.log_softmax: "function",
    torch.sum: "function",
    torch.mean: "mean",
    torch.amax: "pool",
    torch.cat: "concat",
    torch.flatten: "data_movement",
    torch.unflatten: "data_movement",
    torch.transpose: "data_movement",
    torch.permute: "data_movement",
    operator.getitem: "data_movement",
    F.pad: "data_movement",
    F.interpolate: "data_movement",
    F.pixel_shuffle: "data_movement",
    pick_rows: "data_movement",
}
_MAX_BITS: Mapping[Any, int] = {torch.softmax: 8, torch.log_softmax: 8}
_HINTS: Mapping[str, str] = {
    "instance_norm": "use nn.InstanceNorm2d or nn.GroupNorm",
    **dict.fromkeys(("Conv3d", "conv3d"), "use Conv2d layers"),
    "XnorConv2d": "leave out the map of magnitudes: a Conv2d, with the weights and activations "
    "called xnor",
}


def module_of(graph_module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that a node calls; None for a function."""
    return graph_module.get_submodule(str(node.target)) if node.op == "call_module" else None


def is_bn(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node calls a BatchNorm."""
    return isinstance(
        module_of(graph_module, node), nn.BatchNorm1d | nn.BatchNorm2d | nn.SyncBatchNorm
    )


def operators(graph_module: fx.GraphModule, norms: Mapping[fx.Node, fx.Node]) -> list[Op]:
    """The graph in the words of the placement rules.

    A layer and its BatchNorm are one, named by the BatchNorm; functions of one tensor after each
    other are one, named by the last.

    Args:
        graph_module: a canonical graph.
        norms: the BatchNorm of each layer that has one.

    Raises:
        UsageError: something cannot be quantised; names it.
    """
    groups = groups_of(graph_module)
    inside = {node for group in groups.values() for node in group.members} - groups.keys()
    layers = {norm: layer for layer, norm in norms.items()}
    ops: list[Op] = []
    owners: dict[Tensor, str] = {}
    nodes: list[fx.Node] = list(graph_module.graph.nodes)
    numbers = number_nodes(graph_module.graph)
    _check_numbers(graph_module, numbers)
    for node in nodes:
        if node in numbers:
            continue
        if node.op == "placeholder":
            ops.append(Op(node.name, "input"))
        elif is_constant(node):
            if any(not is_constant(reader) for reader in node.users):
                positive = _stays_positive(graph_module, node)
                ops.append(Op(node.name, "constant", not_negative=positive))
        elif node in groups:
            ops.append(_function(node, groups[node]))
        elif node.op != "output" and node not in norms and node not in inside:
            source = layers.get(node, node)
            kind, inputs = (
                _kind(graph_module, source),
                tuple(n.name for n in source.all_input_nodes if n not in numbers),
            )
            positive = source.target is torch.softmax
            owner = (
                owners.setdefault(_weight_of(graph_module, source), node.name)
                if kind == "layer"
                else node.name
            )
            shares = owner if owner != node.name else None
            least = source.meta.get(MIN_BITS, 0)
            most = _MAX_BITS.get(source.target)
            bare = kind == "layer" and source is node
            ops.append(Op(node.name, kind, inputs, positive, shares, most, least, bare))
    return ops


def _check_numbers(graph_module: fx.GraphModule, numbers: frozenset[fx.Node]) -> None:
    """See that the numbers that pick rows are only moved."""
    for node in numbers:
        for reader in node.users:
            moves = reader in numbers and _kind(graph_module, reader) in ("data_movement", "concat")
            if not moves and (reader.target is not pick_rows or reader.args[0] is node):
                raise UsageError(
                    f"{reader.name} computes with the numbers of {node.name}, which pick rows",
                    hint="give the network what it computes of them, such as a mask, as an input "
                    "of its own, in float32",
                )


def _function(node: fx.Node, group: Group) -> Op:
    least = node.meta.get(MIN_BITS, 0)
    sources = (group.source.name,)
    return Op(node.name, "function", sources, not_negative=group.not_negative, min_bits=least)


def _stays_positive(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether no number of a constant is, or will be, below zero."""
    value = constant_value(graph_module, node)
    if not bool(value.isfinite().all()):
        raise UsageError(
            f"{node.name} is a constant that holds infinity, or no number, which no grid does",
            hint="fill a mask with a number below all scores, such as -20, instead of -inf",
        )
    return bool((value >= 0).all()) and not is_trained(graph_module, node)


def _weight_of(graph_module: fx.GraphModule, node: fx.Node) -> Tensor:
    layer: Any = module_of(graph_module, node)
    if isinstance(layer, nn.Linear) and len(node.meta.get("shape", (0, 0))) != 2:
        raise UsageError(
            f"{node.target} (Linear) reads a tensor of more axes than batch and features, "
            "and its weight is no convolution's",
            hint="let all that have this weight read (batch, tokens, features) or (batch, "
            "height, width, features), or flatten before",
        )
    weight: Tensor = layer.weight
    return weight


def _kind(graph_module: fx.GraphModule, node: fx.Node) -> OperatorKind:
    module = module_of(graph_module, node)
    if isinstance(module, Inactive):
        return "data_movement"
    kind = _FUNCTIONS.get(node.target) if module is None else _MODULES.get(type(module))
    if kind is None and is_relu(module if module is not None else node.target, node):
        kind = "relu"
    if kind is None:
        raise _refused(node, module)
    if kind == "add" and node.kwargs:
        raise UsageError(
            f"{node.name} adds with {', '.join(node.kwargs)}",
            hint="multiply the layer before the sum by a number: a + 0.1 * layer(a)",
        )
    if node.target is F.interpolate and node.kwargs["mode"] == LINEAR:
        return "pool"  # a mean, on the grid of what it reads
    if kind == "pool" and node.target is not torch.amax:
        _check_pooling(node, module)
    if node.target is operator.getitem:
        _check_slice(node)
    return kind


def _refused(node: fx.Node, module: nn.Module | None) -> UsageError:
    title = type(module).__name__ if module is not None else name_of(node.target)
    what = f"{node.target} ({title})" if module is not None else f"{node.name} ({title})"
    if isinstance(node.target, type):
        return UsageError(
            f"the network makes a {title}",
            hint="return a tensor, or a tuple, list or dict of tensors",
        )
    known = ", ".join(sorted(kind.__name__ for kind in _MODULES.keys() - {ChannelAffine, HeldNorm}))
    return UsageError(
        f"{what} cannot be quantised",
        hint=_HINTS.get(title, f"use {known}, unary elementwise functions, +, *, cat and slices"),
    )


def _check_pooling(node: fx.Node, module: nn.Module | None) -> None:
    """Say before training what export could not do."""
    op = pool_operators()[node.target if module is None else type(module)]
    given = (
        dict(zip(POOL_OPTIONS[op], node.args[1:], strict=False)) | node.kwargs
        if module is None
        else vars(module)
    )
    read_pooling(op, str(node.target) if module is not None else node.name, given)


def _check_slice(node: fx.Node) -> None:
    index: Any = node.args[1]
    if not all(
        isinstance(item, slice) for item in (index if isinstance(index, tuple) else (index,))
    ):
        raise UsageError(
            f"{node.name} takes parts by number, which has a form only where an example "
            "tells the sizes",
            hint="slice, x[:, 0:1], or give an example of the input to edgeq.quantize; to "
            "reorder channels, concatenate slices",
        )
    first = index[0] if isinstance(index, tuple) else index
    if first != slice(None):
        raise UsageError(
            f"{node.name} takes a part of the batch",
            hint="take it before the network, or behind it",
        )
