"""Turns a float network into one that trains with quantisers: :func:`quantize`."""

from __future__ import annotations

import copy
import operator
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from edgeq.errors import UsageError
from edgeq.lowering import POOL_OPTIONS, read_pooling
from edgeq.models.symmetric import SymmetricBlock
from edgeq.placement import GridSpec, Kind, Op, Placement, place
from edgeq.training.layers import QuantLayer, WeightQuantizer
from edgeq.training.quantizers.learned_clip import LearnedClip
from edgeq.training.quantizers.tracked_clip import TrackedClip
from edgeq.training.quantizers.uniform import UniformQuantizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeq.training.scheme import Scheme

WEIGHT_BOUND = 3.0  # published initial bounds, for normalised weights and for activations behind a ReLU
ACTIVATION_BOUND = 6.0

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


def quantize(model: nn.Module, scheme: Scheme) -> fx.GraphModule:
    """A copy of a float network with quantisers in it, ready to train with any loop.

    Weights, names and tied weights are kept. Activation quantisers live under ``quantizers``; the tensor that one puts
    onto its grid is the graph node ``<tensor>_quantized``.

    Args:
        model: a float network that ``torch.fx`` can trace.
        scheme: widths and placement.

    Raises:
        UsageError: the network cannot be traced, or holds something that cannot be quantised; names it.
    """
    steps = _certified_steps(model)
    graph_module = trace(copy.deepcopy(model))
    _drop_inactive(graph_module)
    gains = _absorb_constants(graph_module)
    norms = _norms_behind_layers(graph_module)
    placement = place(_operators(graph_module, norms), placement=scheme.placement, **_widths(scheme))
    layers = _insert_layers(graph_module, placement, norms, gains, scheme)
    _insert_quantizers(graph_module, placement, layers)
    _pass_certificates_on(graph_module, steps)
    graph_module.delete_all_unused_submodules()
    graph_module.graph.lint()
    graph_module.recompile()
    return graph_module


def trace(model: nn.Module) -> fx.GraphModule:
    """The network as a graph whose node names come from its module paths.

    Raises:
        UsageError: ``torch.fx`` cannot follow it.
    """
    try:
        return fx.symbolic_trace(model)
    except Exception as error:  # whatever a user's forward raises under tracing
        raise UsageError(
            f"torch.fx cannot trace {type(model).__name__}: {error}",
            mend="make its forward free of control flow that depends on tensor values",
        ) from error


def _certified_steps(model: nn.Module) -> dict[str, list[str]]:
    """Path of each block that promises a bound on its step, and the paths of the layers that are its ``K``."""
    blocks = {path: block for path, block in model.named_modules() if isinstance(block, SymmetricBlock) and block.certified}
    found: dict[str, list[str]] = {}
    for path, block in blocks.items():
        layers = {id(layer.weight): name for name, layer in block.named_modules() if isinstance(layer, nn.Conv2d)}
        found[path] = [f"{path}.{layers[id(kernel)]}".lstrip(".") for kernel in block.kernels()]
    return found


def _pass_certificates_on(graph_module: fx.GraphModule, steps: dict[str, list[str]]) -> None:
    """The blocks are gone from the graph: the last layer of each ``K``, which has the BatchNorm, keeps their promise."""
    for paths in steps.values():
        layers = [graph_module.get_submodule(path) for path in paths]
        *before, last = (layer for layer in layers if isinstance(layer, QuantLayer))
        gains = [other.gain for other in graph_module.modules() if isinstance(other, QuantLayer) and _adjoint_of(other, layers[0])]
        last.promise(before, -gains[0])


def _adjoint_of(layer: QuantLayer, first: nn.Module) -> bool:
    return isinstance(first, QuantLayer) and isinstance(layer.layer, nn.ConvTranspose2d) and layer.layer.weight is first.layer.weight


def quantizers(model: nn.Module) -> list[UniformQuantizer]:
    """Every quantiser of weights and activations in a model, each once."""
    return [module for module in model.modules() if isinstance(module, UniformQuantizer)]


def set_bits(model: nn.Module, bits: int | None) -> None:
    """Anneal: hold every quantiser at ``bits`` where its target is lower; None sets all targets."""
    for quantizer in quantizers(model):
        quantizer.bits = quantizer.target_bits if bits is None else max(bits, quantizer.target_bits)


def set_rounding(model: nn.Module, *, weights: bool, activations: bool) -> None:
    """Switch rounding off or on; clipping stays. Both off is the FP32 reference of a quantised network."""
    of_weights = {module.clip for module in model.modules() if isinstance(module, WeightQuantizer)}
    for quantizer in quantizers(model):
        quantizer.rounding = weights if quantizer in of_weights else activations


def _widths(scheme: Scheme) -> dict[str, int]:
    return {"weight_bits": scheme.weight_bits, "act_bits": scheme.act_bits, "edge_bits": scheme.edge_bits}


def _module(graph_module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return graph_module.get_submodule(str(node.target)) if node.op == "call_module" else None


def _is_bn(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    return isinstance(_module(graph_module, node), nn.BatchNorm1d | nn.BatchNorm2d)


def _drop_inactive(graph_module: fx.GraphModule) -> None:
    """Identity computes nothing, and would part a layer from its BatchNorm."""
    for node in list(graph_module.graph.nodes):
        if isinstance(_module(graph_module, node), nn.Identity):
            node.replace_all_uses_with(node.args[0])
            graph_module.graph.erase_node(node)


def _absorb_constants(graph_module: fx.GraphModule) -> dict[fx.Node, float]:
    """``a - c * layer(u)`` becomes ``a + layer(u)`` with the gain ``-c`` in the layer; returns gain by last node of the layer."""
    graph = graph_module.graph
    gains: dict[fx.Node, float] = {}
    for node in list(graph.nodes):
        if node.target is operator.mul and _constant_factor(node) is not None:
            source, factor = _constant_factor(node) or (node, 1.0)
            if len(source.users) == 1 and _ends_layer(graph_module, source):
                gains[source] = gains.get(source, 1.0) * factor
                node.replace_all_uses_with(source)
                graph.erase_node(node)
    for node in list(graph.nodes):
        if node.target in (operator.sub, torch.sub) and not node.kwargs and _subtracts_layer(graph_module, node):
            branch = node.args[1]
            gains[branch] = -gains.get(branch, 1.0)
            node.target = operator.add
    return gains


def _constant_factor(node: fx.Node) -> tuple[fx.Node, float] | None:
    a, b = node.args
    if isinstance(a, fx.Node) and isinstance(b, int | float):
        return a, float(b)
    return (b, float(a)) if isinstance(b, fx.Node) and isinstance(a, int | float) else None


def _ends_layer(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    return _is_bn(graph_module, node) or isinstance(_module(graph_module, node), nn.Conv2d | nn.ConvTranspose2d | nn.Linear)


def _subtracts_layer(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    branch = node.args[1]
    return isinstance(branch, fx.Node) and len(branch.users) == 1 and _ends_layer(graph_module, branch)


def _norms_behind_layers(graph_module: fx.GraphModule) -> dict[fx.Node, fx.Node]:
    """Layer node to the BatchNorm node that alone reads it."""
    found = {}
    for node in graph_module.graph.nodes:
        if _is_bn(graph_module, node):
            layer = node.args[0]
            if not _ends_layer(graph_module, layer) or _is_bn(graph_module, layer) or len(layer.users) != 1:
                raise UsageError(f"the BatchNorm {node.target!r} does not stand right behind one layer", mend="move it there, or remove it")
            found[layer] = node
    return found


def _operators(graph_module: fx.GraphModule, norms: dict[fx.Node, fx.Node]) -> list[Op]:
    """The graph in the words of the placement rules; a layer and its BatchNorm are one, named by the BatchNorm."""
    ops = []
    for node in graph_module.graph.nodes:
        if node.op == "placeholder":
            ops.append(Op(node.name, "input"))
        elif node.op != "output" and node not in norms:
            source = node.args[0] if _is_bn(graph_module, node) else node
            ops.append(Op(node.name, _kind(graph_module, source), tuple(n.name for n in source.all_input_nodes)))
    return ops


def _kind(graph_module: fx.GraphModule, node: fx.Node) -> Kind:
    module = _module(graph_module, node)
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


def _insert_layers(
    graph_module: fx.GraphModule, placement: Placement, norms: dict[fx.Node, fx.Node], gains: dict[fx.Node, float], scheme: Scheme
) -> dict[str, QuantLayer]:
    """Put a QuantLayer in the place of each layer with its BatchNorm; returns them by tensor name."""
    layers: dict[str, QuantLayer] = {}
    shared: dict[nn.Parameter, WeightQuantizer] = {}
    norm_nodes = set(norms.values())
    nodes: list[fx.Node] = list(graph_module.graph.nodes)
    for node in nodes:
        last = norms.get(node, node)
        if last.name not in placement.layers:
            _keep_gain(graph_module, node, gains)
            continue
        if node in norm_nodes:  # done together with its layer
            continue
        module: Any = _module(graph_module, node)
        if isinstance(module, QuantLayer):
            raise UsageError(
                f"the layer {node.target!r} is called twice", mend="give each call a layer of its own; two layers may share one weight"
            )
        bn: Any = _module(graph_module, last) if node in norms else None
        if module.weight not in shared:
            shared[module.weight] = _weight_quantizer(module.weight, placement.layers[last.name], bn, scheme)
        layer = QuantLayer(module, bn, shared[module.weight], gains.get(last, 1.0))
        layers[last.name] = layer
        graph_module.add_submodule(str(node.target), layer)
        if node in norms:
            graph_module.delete_submodule(str(last.target))  # it belongs to its layer now
            last.target, last.args = node.target, node.args
            graph_module.graph.erase_node(node)
    return layers


def _keep_gain(graph_module: fx.GraphModule, node: fx.Node, gains: dict[fx.Node, float]) -> None:
    """A layer left in float has nowhere to hide its gain: multiply behind it."""
    if node not in gains:
        return
    with graph_module.graph.inserting_after(node):
        scaled = graph_module.graph.call_function(operator.mul, (node, gains[node]))
    node.replace_all_uses_with(scaled, delete_user_cb=lambda user: user is not scaled)


def _weight_quantizer(weight: nn.Parameter, bits: int, bn: nn.Module | None, scheme: Scheme) -> WeightQuantizer:
    if scheme.normalize_weights and bn is not None:
        return WeightQuantizer(LearnedClip(bits, signed=True, narrow=True, bound=WEIGHT_BOUND), normalize=True)
    largest = float(weight.detach().abs().max())
    return WeightQuantizer(TrackedClip(bits, signed=True, narrow=True, bound=largest, decay=1.0), normalize=False)


def _insert_quantizers(graph_module: fx.GraphModule, placement: Placement, layers: dict[str, QuantLayer]) -> None:
    graph_module.add_submodule("quantizers", nn.ModuleDict({name: _activation_quantizer(spec) for name, spec in placement.grids.items()}))
    nodes = {node.name: node for node in graph_module.graph.nodes}
    onto_grid: dict[tuple[fx.Node, str], fx.Node] = {}
    for (reader, index), grid in placement.edges.items():
        source = nodes[reader].all_input_nodes[index]
        if (source, grid) not in onto_grid:
            onto_grid[source, grid] = _call_quantizer(graph_module, source, grid, f"{source.name}_to_{grid}")
        nodes[reader].replace_input_with(source, onto_grid[source, grid])
    for tensor, grid in placement.tensors.items():
        node = nodes[tensor]
        quantized = _call_quantizer(graph_module, node, grid, tensor)
        node.replace_all_uses_with(quantized, delete_user_cb=_all_but(quantized))
    for name, layer in layers.items():
        source_grid = _grid_of(nodes[name].all_input_nodes[0])
        layer.read_from(graph_module.get_submodule(source_grid))  # type: ignore[arg-type]


def _all_but(node: fx.Node) -> Callable[[fx.Node], bool]:
    return lambda user: user is not node


def _call_quantizer(graph_module: fx.GraphModule, source: fx.Node, grid: str, tensor: str) -> fx.Node:
    with graph_module.graph.inserting_after(source):
        return graph_module.graph.create_node("call_module", f"quantizers.{grid}", (source,), name=f"{tensor}_quantized")


def _grid_of(node: fx.Node) -> str:
    """The quantiser whose grid a tensor lies on, through views."""
    while not str(node.target).startswith("quantizers."):
        node = node.all_input_nodes[0]
    return str(node.target)


def _activation_quantizer(spec: GridSpec) -> UniformQuantizer:
    if spec.inner and not spec.signed:
        return LearnedClip(spec.bits, signed=False, bound=ACTIVATION_BOUND)
    return TrackedClip(spec.bits, signed=spec.signed)
