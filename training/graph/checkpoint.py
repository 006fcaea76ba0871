"""Checkpoints of graph networks.

The form of :mod:`edgeq.training.checkpoint`, and the edges, so that one file is enough to answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from edgeq.errors import ArtefactError, UsageError
from edgeq.models import zoo
from edgeq.models.pde_gcn import PdeGcn, SparseGradient
from edgeq.training.checkpoint import (
    GRAPH_FORMAT,
    AnyCheckpoint,
    read_file,
    refusing_others,
    restore_tensors,
)
from edgeq.training.graph.quantization import quantize_graph
from edgeq.training.graph.recipe import GraphRecipe
from edgeq.training.qat_transform import set_rounding

if TYPE_CHECKING:
    from pathlib import Path

    import torch

EDGES = "graph/edges"


@dataclass(frozen=True, slots=True, repr=False)
class GraphCheckpoint(AnyCheckpoint):
    """A run on a graph: its shape is (nodes, features), its edges are under ``graph/``."""

    recipe: GraphRecipe
    input_shape: tuple[int, int]

    FORMAT = GRAPH_FORMAT
    SHAPE = "shape"


def read(path: Path) -> GraphCheckpoint:
    """Read a checkpoint.

    Raises:
        ArtefactError: missing, truncated, or no checkpoint of a graph network.
    """
    about, tensors = read_file(path)
    with refusing_others(path):
        if about["format"] != GRAPH_FORMAT:
            raise ArtefactError(
                f"{path} has the format {about['format']!r}",
                hint="name the checkpoint of a graph network",
            )
        recipe, shape = (
            GraphRecipe.from_dict(about["recipe"]),
            _checked_shape(about["shape"], tensors[EDGES]),
        )
        return GraphCheckpoint(
            recipe, shape, tuple(map(str, about["classes"])), tensors, about["progress"]
        )


def _checked_shape(shape: list[int], edges: torch.Tensor) -> tuple[int, int]:
    nodes, features = shape
    if type(nodes) is not int or type(features) is not int or min(nodes, features) < 1:
        raise ValueError(f"the shape is {shape}")
    if (
        edges.ndim != 2
        or len(edges) != 2
        or (edges.numel() and not 0 <= int(edges.min()) <= int(edges.max()) < nodes)
    ):
        raise ValueError("an edge has no node")
    return nodes, features


def build_network(recipe: GraphRecipe, features: int, classes: int, edges: torch.Tensor) -> PdeGcn:
    """The untrained network of a recipe, quantised if the recipe says so.

    Args:
        recipe: the recipe.
        features: of a node.
        classes: how many outputs a node.
        edges: (2, edges), both directions of each.

    Raises:
        UsageError: it reads no graph.
    """
    if zoo.describe(recipe.model).reads != "graphs":
        raise UsageError(
            f"{recipe.model} reads images, and {recipe.data} is a graph",
            hint="choose a network that reads graphs",
        )
    built = zoo.build(
        recipe.model,
        classes=classes,
        in_channels=features,
        step_size=recipe.step_size,
        dropout=recipe.dropout,
        pairs=edges.shape[1] // 2 if recipe.learn_gradient else 0,
    )
    network = cast("PdeGcn", built)
    return network if recipe.scheme is None else quantize_graph(network, recipe.scheme)


def build_gradient(recipe: GraphRecipe, edges: torch.Tensor, nodes: int) -> SparseGradient:
    """The gradient of the graph.

    Each pair of nodes once where the activations' quantiser is odd, which the released one is not.
    """
    if recipe.scheme is not None and recipe.scheme.activations == "released":
        return SparseGradient(edges, nodes)
    return SparseGradient.once(edges, nodes)


def load_network(
    path: Path, *, rounding: bool = True
) -> tuple[PdeGcn, SparseGradient, GraphRecipe]:
    """The network of a checkpoint, in evaluation mode, its graph and its recipe.

    Args:
        path: the file.
        rounding: false for the FP32 reference of a quantised network: clipped, but never rounded.

    Raises:
        ArtefactError: missing, truncated or foreign.
    """
    checkpoint = read(path)
    nodes, features = checkpoint.input_shape
    edges = checkpoint.tensors[EDGES]
    network = build_network(checkpoint.recipe, features, len(checkpoint.classes), edges)
    restore_tensors(network, checkpoint.tensors, checkpoint.recipe.name, path)
    set_rounding(network, weights=rounding, activations=rounding)
    network.eval()
    return (
        network,
        build_gradient(checkpoint.recipe, edges, nodes),
        checkpoint.recipe,
    )
