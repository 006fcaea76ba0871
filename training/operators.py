"""The operators of torch that can be quantised, in the words of the placement rules."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from edgeq.errors import UsageError
from edgeq.lowering import POOL_OPTIONS, read_pooling
from edgeq.placement import Kind, Op

_MODULES: dict[type[nn.Module], Kind] = {
    nn.Conv2d: "layer",
    nn.ConvTranspose2d: "layer",
    nn.Linear: "layer",
    nn.ReLU: "relu",
    nn.AvgPool2d: "pool",
    nn.MaxPool2d: "pool",
    nn.AdaptiveAvgPool2d: "pool",
    nn.Flatten: "view",
    nn.Dropout: "view",
}
_FUNCTIONS: dict[Any, Kind] = {
    torch.relu: "relu",
    F.relu: "relu",
    "relu": "relu",
    operator.add: "add",
    torch.add: "add",
    "add": "add",
    torch.cat: "join",
    F.avg_pool2d: "pool",
    F.max_pool2d: "pool",
    F.adaptive_avg_pool2d: "pool",
    torch.flatten: "view",
    "flatten": "view",
    operator.getitem: "view",
    F.pad: "view",
}
_POOLS: dict[Any, str] = {
    nn.AvgPool2d: "AveragePool",
    F.avg_pool2d: "AveragePool",
    nn.MaxPool2d: "MaxPool",
    F.max_pool2d: "MaxPool",
    nn.AdaptiveAvgPool2d: "GlobalAveragePool",
    F.adaptive_avg_pool2d: "GlobalAveragePool",
}


def module_of(graph_module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that a node calls; None for a function."""
    return graph_module.get_submodule(str(node.target)) if node.op == "call_module" else None


def is_bn(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node calls a BatchNorm."""
    return isinstance(module_of(graph_module, node), nn.BatchNorm1d | nn.BatchNorm2d)


def operators(graph_module: fx.GraphModule, norms: dict[fx.Node, fx.Node]) -> list[Op]:
    """The graph in the words of the placement rules; a layer and its BatchNorm are one, named by the BatchNorm."""
    ops = []
    for node in graph_module.graph.nodes:
        if node.op == "placeholder":
            ops.append(Op(node.name, "input"))
        elif node.op != "output" and node not in norms:
            source = node.args[0] if is_bn(graph_module, node) else node
            ops.append(Op(node.name, _kind(graph_module, source), tuple(n.name for n in source.all_input_nodes)))
    return ops


def _kind(graph_module: fx.GraphModule, node: fx.Node) -> Kind:
    module = module_of(graph_module, node)
    kind = _FUNCTIONS.get(node.target) if module is None else _MODULES.get(type(module))
    if kind is None:
        what = f"{node.target} ({type(module).__name__})" if module is not None else f"{node.name} ({_title(node.target)})"
        raise UsageError(f"{what} cannot be quantised", mend=f"use {', '.join(sorted(t.__name__ for t in _MODULES))}, +, cat and slices")
    if kind == "add" and not all(isinstance(term, fx.Node) for term in node.args):
        raise UsageError(f"{node.name} adds a constant, which has no grid", mend="put the constant into a bias")
    if kind == "add" and node.kwargs:
        raise UsageError(
            f"{node.name} adds with {', '.join(node.kwargs)}", mend="multiply the layer before the sum by a number: a + 0.1 * layer(a)"
        )
    if kind == "pool":
        _check_pooling(node, module)
    return kind


def _title(target: Any) -> str:
    return str(getattr(target, "__name__", target))


def _check_pooling(node: fx.Node, module: nn.Module | None) -> None:
    """Say before training what export could not do."""
    op = _POOLS[node.target if module is None else type(module)]
    given = dict(zip(POOL_OPTIONS[op], node.args[1:], strict=False)) | node.kwargs if module is None else vars(module)
    read_pooling(op, str(node.target) if module is not None else node.name, given)
