"""A trained graph network as the numbers that an exporter writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeq.errors import UsageError
from edgeq.models.pde_gcn import DiffusionStep
from edgeq.network.graph_network import ChannelProduct, GraphNetwork, NetworkStep
from edgeq.network.layer_protocols import ActivationQuantizer
from edgeq.quant import QuantParams
from edgeq.training.checkpoint import GRAPH_FORMAT, read_header
from edgeq.training.graph.checkpoint import load_network
from edgeq.training.layers import WeightQuantizer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from edgeq.models.pde_gcn import PdeGcn, SparseGradient


def holds_graph(path: Path) -> bool:
    """Whether a checkpoint is one of a graph network.

    Raises:
        ArtefactError: it is no checkpoint.
    """
    header = read_header(path)
    return isinstance(header, dict) and header.get("format") == GRAPH_FORMAT


def describe_checkpoint(path: Path) -> tuple[GraphNetwork, Mapping[str, str]]:
    """The network of a checkpoint, and what the checkpoint says of its making.

    Raises:
        ArtefactError: missing, truncated or foreign.
        UsageError: a quantiser has no grid that an integer runtime can hold.
    """
    network, graph, recipe = load_network(path)
    scheme = "FP32" if recipe.scheme is None else f"{recipe.scheme.name} paper"
    return describe(network, graph), {
        "model": recipe.model,
        "data": recipe.data,
        "scheme": scheme,
        "seed": str(recipe.seed),
    }


@torch.no_grad()
def describe(network: PdeGcn, graph: SparseGradient) -> GraphNetwork:
    """The numbers that evaluation computes with.

    Raises:
        UsageError: a quantiser has no grid that an integer runtime can hold.
    """
    graph = network.learnt(graph)
    steps = [_step(step) for step in network.steps if isinstance(step, DiffusionStep)]
    return GraphNetwork(
        graph.nodes,
        graph.edges.numpy(),
        graph.weights.numpy(),
        (graph.directions * graph.weights).numpy(),
        network.open.weight.numpy(),
        tuple(steps),
        network.close.weight.numpy(),
    )


def _step(step: DiffusionStep) -> NetworkStep:
    k2 = None if step.k2 is None else _operator(step.k2, step.quantize_k2)
    return NetworkStep(
        step.step_size,
        _operator(step.k1, step.quantize_k1),
        k2,
        _grid(step.quantize_state),
        _grid(step.quantize_inner),
    )


def _grid(quantizer: nn.Module) -> QuantParams | None:
    return quantizer.quant_params() if isinstance(quantizer, ActivationQuantizer) else None


def _operator(weight: Tensor, quantizer: nn.Module) -> ChannelProduct:
    if not isinstance(quantizer, WeightQuantizer):
        return ChannelProduct(weight.numpy(), None)
    found = quantizer.encode(weight)
    if found.high > np.iinfo(np.int8).max:
        raise UsageError(
            "an operator is still above 8 bits", hint="set the target widths before export"
        )
    params = QuantParams.of(found.scale.numpy(), 0, "int8", int(found.low), int(found.high))
    return ChannelProduct(found.integers.numpy().astype(np.int8), params)
