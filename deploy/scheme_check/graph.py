"""What the scheme of a graph network asks of a target.

And the untrained network with its graph, in the form that a format can hold.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgeq.deploy.scheme_check.requirements import (
    Requirement,
    UntrainedNetwork,
    are_powers_of_two,
    counted_bits,
)
from edgeq.errors import ArtefactError, EdgeqError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeq.data import GraphData
    from edgeq.models.pde_gcn import PdeGcn
    from edgeq.quant import QuantParams
    from edgeq.training.graph.recipe import GraphRecipe, GraphScheme


def lower_untrained_graph(recipe: GraphRecipe, data: GraphData) -> UntrainedNetwork:
    """Lower a quantised graph network that nobody has trained.

    Args:
        recipe: the run, which has a scheme.
        data: the graph, whose features give bounds to quantisers that wait for them.

    Raises:
        UsageError: the network reads no graph.
    """
    import torch

    from edgeq.exporters.torch.graph_network import lower_graph
    from edgeq.training.graph.checkpoint import build_gradient, build_network
    from edgeq.training.graph.description import describe
    from edgeq.training.graph.loop import features
    from edgeq.training.graph.quantization import observe_bounds

    scheme: Any = recipe.scheme
    edges = torch.from_numpy(data.edges.copy())
    network = build_network(recipe, data.shape[1], len(data.classes), edges)
    graph = build_gradient(recipe, edges, data.nodes)
    observe_bounds(network, features(data), graph)
    unopened = ArtefactError(
        "it reads images, and a graph network has none", hint="ask a target of ONNX or TFLite files"
    )
    weights, activations = _weights(scheme, network), _activations(scheme, network)
    try:
        found = describe(network.eval(), graph)
    except EdgeqError as error:  # the quantiser of activations has no grid
        return UntrainedNetwork(
            (*weights, replace(activations, refusal=error.what, hint=error.hint)), None, unopened
        )
    operators = [
        operator.params
        for step in found.steps
        for operator in (step.k1, step.k2)
        if operator is not None
    ]
    weights = [replace(one, power_of_two=_powers_of_two(operators)) for one in weights]
    activations = replace(
        activations,
        power_of_two=_powers_of_two(
            grid for step in found.steps for grid in (step.state, step.inner)
        ),
    )
    return UntrainedNetwork(
        (*weights, activations), lambda form: lower_graph(found, dense=form != "onnx"), unopened
    )


def _weights(scheme: GraphScheme, network: PdeGcn) -> list[Requirement]:
    """The operators; none where they stay in float."""
    from edgeq.training.graph.recipe import FLOAT

    names = tuple(
        f"steps_{i}_{name}"
        for i, step in enumerate(network.steps)
        for name in ("k1", "k2")
        if getattr(step, name) is not None
    )
    what = f"{counted_bits(scheme.weight_bits)}, learned-clip, one scale a tensor"
    is_sub_range = scheme.weight_bits < 8
    return (
        []
        if scheme.weight_bits == FLOAT
        else [Requirement("weights", what, names, is_sub_range, ops=_products(network))]
    )


def _activations(scheme: GraphScheme, network: PdeGcn) -> Requirement:
    """The state and the inner activation of each step."""
    names = tuple(
        f"steps_{i}_{name}" for i in range(len(network.steps)) for name in ("state", "inner")
    )
    method = (
        "learned-clip, zero in the middle"
        if scheme.activations == "signed"
        else f"{scheme.activations}, without a zero"
    )
    return Requirement(
        "activations",
        f"{counted_bits(scheme.act_bits)}, {method}",
        names,
        scheme.act_bits < 8,
        ops=_products(network),
    )


def _products(network: PdeGcn) -> tuple[str, ...]:
    """What the exporter calls the operators that multiply activations by weights.

    The transpose of K1 stands for K2 where there is none.
    """
    return tuple(f"steps_{i}_{name}" for i in range(len(network.steps)) for name in ("k1", "k2"))


def _powers_of_two(grids: Iterable[QuantParams | None]) -> bool:
    return all(grid is not None and are_powers_of_two(grid.scale) for grid in grids)
