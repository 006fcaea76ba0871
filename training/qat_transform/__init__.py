"""Turns a float network into one that trains with quantisers: :func:`quantize`."""

from __future__ import annotations

import copy
import operator
from typing import TYPE_CHECKING, Any, cast

from torch import fx, nn

from edgeq.errors import UsageError
from edgeq.training.layers import QuantLayer, WeightQuantizer
from edgeq.training.qat_transform.arguments import check_arguments
from edgeq.training.qat_transform.assignment import assign
from edgeq.training.qat_transform.bounded_grids import hold_reciprocal, hold_softmax
from edgeq.training.qat_transform.folding import (
    absorb_constants,
    drop_inactive,
    keep_gain,
    norms_behind_layers,
)
from edgeq.training.qat_transform.normal_form.channel_constants import ChannelAffine
from edgeq.training.qat_transform.normal_form.functional_to_module import path_of
from edgeq.training.qat_transform.normal_form.unshare_calls import separate_calls
from edgeq.training.qat_transform.operators import module_of, operators
from edgeq.training.qat_transform.pair_limits import limit_pairs
from edgeq.training.qat_transform.stability_bounds import add_bounds, bounded_steps
from edgeq.training.qat_transform.standalone_norms import insert_norms
from edgeq.training.qat_transform.tracing import trace
from edgeq.training.quantizers.parts.protocol import GridQuantizer, Quantizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from edgeq.network.placement import Op
    from edgeq.training.qat_transform.assignment import Assignment
    from edgeq.training.recipes.scheme import Scheme

# the key in a quantised network's ``meta`` of what its scheme came to mean
ASSIGNMENT = "edgeq.assignment"


def quantize(
    model: nn.Module, scheme: Scheme, example: Tensor | Sequence[Tensor] | None = None
) -> fx.GraphModule:
    """What :func:`edgeq.quantize` returns, of which :mod:`edgeq.training.kept_function` says more.

    Without a word on what it changes.
    """
    check_arguments(model, scheme)
    steps = bounded_steps(model)
    integers = scheme.placement == "integer" and scheme.norms == "integer"
    graph_module = trace(copy.deepcopy(model), example, norms_in_integers=integers)
    drop_inactive(graph_module)
    separate_calls(graph_module)
    gains = absorb_constants(graph_module)
    norms = norms_behind_layers(graph_module)
    ops = operators(graph_module, norms)
    normed = (
        norm.name
        for norm in norms.values()
        if not isinstance(module_of(graph_module, norm), ChannelAffine)
    )
    assignment = assign(ops, _layer_paths(graph_module, ops, norms), normed, scheme)
    placement = assignment.placement
    layers = (
        insert_norms(graph_module, ops, placement, gains) if scheme.placement == "integer" else {}
    )
    constants = _constants(graph_module)
    layers |= _insert_layers(graph_module, assignment, norms, gains)
    _insert_quantizers(graph_module, ops, assignment, layers)
    if scheme.pair_safe:
        limit_pairs(layers.values())
    graph_module.meta[ASSIGNMENT] = assignment
    add_bounds(graph_module, steps)
    _read_where_they_are(graph_module, constants)
    graph_module.delete_all_unused_submodules()
    graph_module.graph.lint()
    graph_module.recompile()
    return graph_module


def quantizers(model: nn.Module) -> list[Quantizer]:
    """Every quantiser of weights and activations in a model, each once."""
    return [module for module in model.modules() if isinstance(module, Quantizer)]


def set_bits(model: nn.Module, bits: int | None) -> None:
    """Hold every quantiser at ``bits``, where the scheme asks for fewer.

    Args:
        model: a quantised network.
        bits: the width; None goes back to the widths of the scheme.

    Raises:
        UsageError: ``bits`` is no width.
    """
    if bits is not None and (type(bits) is not int or bits < 1):
        raise UsageError(
            f"the width is {bits!r}",
            hint="give a whole number of bits, or None for the widths of the scheme",
        )
    for quantizer in quantizers(model):
        quantizer.bits = quantizer.target_bits if bits is None else max(bits, quantizer.target_bits)


def set_rounding(model: nn.Module, *, weights: bool, activations: bool) -> None:
    """Switch rounding off or on; clipping stays.

    Both off is the FP32 reference of a quantised network.
    """
    of_weights = {module.clip for module in model.modules() if isinstance(module, WeightQuantizer)}
    for quantizer in quantizers(model):
        quantizer.rounding = weights if quantizer in of_weights else activations


def _layer_paths(
    graph_module: fx.GraphModule, ops: Sequence[Op], norms: dict[fx.Node, fx.Node]
) -> dict[str, str]:
    """The module path of each layer, by the tensor that it makes."""
    behind = set(norms.values())
    nodes: list[fx.Node] = list(graph_module.graph.nodes)
    paths = {norms.get(node, node).name: str(node.target) for node in nodes if node not in behind}
    return {op.name: paths[op.name] for op in ops if op.kind == "layer"}


def _insert_layers(
    graph_module: fx.GraphModule,
    assignment: Assignment,
    norms: dict[fx.Node, fx.Node],
    gains: dict[fx.Node, float],
) -> dict[str, QuantLayer]:
    """Put a QuantLayer in the place of each layer with its BatchNorm.

    Returns them by tensor name.
    """
    layers: dict[str, QuantLayer] = {}
    owners: dict[Tensor, str] = {}
    norm_nodes = set(norms.values())
    nodes: list[fx.Node] = list(graph_module.graph.nodes)
    sharing = _modules_by_weight(graph_module, assignment, norms)
    for node in nodes:
        last = norms.get(node, node)
        if last.name not in assignment.placement.layers:
            keep_gain(graph_module, node, gains)
            continue
        if node in norm_nodes:  # done together with its layer
            continue
        module: Any = module_of(graph_module, node)
        bn: Any = module_of(graph_module, last) if node in norms else None
        owner = owners.setdefault(module.weight, last.name)
        if owner == last.name:
            quantizer = assignment.weight_quantizer(owner, sharing[module.weight])
        else:
            assignment.check_tied(owner, last.name, (layers[owner].layer, module))
            quantizer = layers[owner].quantizer
        inner_gain = gains.get(node, 1.0) if node in norms else 1.0
        layers[last.name] = layer = QuantLayer(
            module, bn, quantizer, gains.get(last, 1.0), inner_gain
        )
        graph_module.add_submodule(str(node.target), layer)
        if node in norms:
            graph_module.delete_submodule(str(last.target))  # it belongs to its layer now
            last.target, last.args = node.target, node.args
            graph_module.graph.erase_node(node)
    return layers


def _modules_by_weight(
    graph_module: fx.GraphModule, assignment: Assignment, norms: dict[fx.Node, fx.Node]
) -> dict[Tensor, list[nn.Module]]:
    """The quantised layers that have each weight, in their order."""
    found: dict[Tensor, list[nn.Module]] = {}
    nodes: list[fx.Node] = list(graph_module.graph.nodes)
    for node in nodes:
        if norms.get(node, node).name in assignment.placement.layers and node not in norms.values():
            module: Any = module_of(graph_module, node)
            found.setdefault(module.weight, []).append(module)
    return found


def _constants(graph_module: fx.GraphModule) -> dict[fx.Node, Any]:
    """The parameters and buffers that operators read as tensors, by node."""
    return {
        node: operator.attrgetter(str(node.target))(graph_module)
        for node in graph_module.graph.nodes
        if node.op == "get_attr"
    }


def _read_where_they_are(graph_module: fx.GraphModule, constants: dict[fx.Node, Any]) -> None:
    """A parameter that a layer has too is part of the quantised layer now."""
    for node, value in constants.items():
        node.target = path_of(graph_module, value)


def _insert_quantizers(
    graph_module: fx.GraphModule,
    ops: Sequence[Op],
    assignment: Assignment,
    layers: dict[str, QuantLayer],
) -> None:
    placement = assignment.placement
    made: dict[str, Any] = {
        name: assignment.activation_quantizer(spec) for name, spec in placement.grids.items()
    }
    graph_module.add_submodule("quantizers", nn.ModuleDict(made))
    nodes = {node.name: node for node in graph_module.graph.nodes}
    by_name = {op.name: op for op in ops}
    grids = {tensor: made[grid] for tensor, grid in placement.tensors.items()}
    for tensor, quantizer in grids.items():
        hold_softmax(nodes[tensor], quantizer)
        hold_reciprocal(nodes[tensor], quantizer, by_name, grids)
    onto_grid: dict[tuple[fx.Node, str], fx.Node] = {}
    for (reader, index), grid in placement.edges.items():
        source = nodes[reader].all_input_nodes[index]
        if (source, grid) not in onto_grid:
            onto_grid[source, grid] = _call_quantizer(
                graph_module, source, grid, f"{source.name}_to_{grid}"
            )
        nodes[reader].replace_input_with(source, onto_grid[source, grid])
    for tensor, grid in placement.tensors.items():
        node = nodes[tensor]
        quantized = _call_quantizer(graph_module, node, grid, tensor)
        node.replace_all_uses_with(quantized, delete_user_cb=_all_but(quantized))
    for name, layer in layers.items():
        source_grid = _grid_of(graph_module, nodes[name].all_input_nodes[0])
        if source_grid is not None:
            layer.read_from(source_grid)


def _all_but(node: fx.Node) -> Callable[[fx.Node], bool]:
    return lambda user: user is not node


def _call_quantizer(
    graph_module: fx.GraphModule, source: fx.Node, grid: str, tensor: str
) -> fx.Node:
    with graph_module.graph.inserting_after(source):
        return graph_module.graph.create_node(
            "call_module", f"quantizers.{grid}", (source,), name=f"{tensor}_quantized"
        )


def _grid_of(graph_module: fx.GraphModule, node: fx.Node) -> GridQuantizer | None:
    """The quantiser whose grid a tensor lies on, through views; None behind a layer without one."""
    while not str(node.target).startswith("quantizers."):
        if isinstance(module_of(graph_module, node), QuantLayer):
            return None
        node = node.all_input_nodes[0]
    return cast("GridQuantizer", graph_module.get_submodule(str(node.target)))
