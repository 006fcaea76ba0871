"""What a graph is once it is in memory.

Features, edges and labels of its nodes, and which of the nodes train, validate and test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class GraphData:
    """One graph whose nodes are to be classified.

    Attributes:
        name: what the user called it.
        classes: the name of each label.
        features: float32, (nodes, features), not yet normalised.
        edges: int64, (2, edges): both directions of each pair of nodes once, no node with itself,
            in ascending order.
        labels: int64, (nodes,); -1 for a node without a class.
        train: int64, nodes to fit weights on.
        validation: int64, nodes to choose checkpoints and hyper-parameters by.
        test: int64, the published test nodes, to be used once.
    """

    name: str
    classes: tuple[str, ...]
    features: NDArray[np.float32]
    edges: NDArray[np.int64]
    labels: NDArray[np.int64]
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]

    __repr__ = brief

    @property
    def nodes(self) -> int:
        """How many there are."""
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int]:
        """Nodes and features."""
        nodes, features = self.features.shape
        return nodes, features

    def normalized(self) -> NDArray[np.float32]:
        """The features as a network reads them (Kipf and Welling, 2017).

        Those of a node sum to one; a node without any keeps zeros.
        """
        sums: NDArray[np.float32] = self.features.sum(1, keepdims=True, dtype=np.float32)
        sums[sums == 0] = 1
        return self.features / sums


def undirected(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Both directions of each pair of nodes, once each, without pairs of a node with itself.

    Args:
        pairs: int64, (2, pairs), in any order, as often as they come.

    Returns:
        int64, (2, edges), ascending.
    """
    pairs = pairs[:, pairs[0] != pairs[1]]
    return np.unique(np.concatenate([pairs, pairs[::-1]], 1), axis=1)


def check_graph(graph: GraphData, where: object) -> GraphData:
    """The graph, when its parts fit each other.

    Raises:
        ArtefactError: an edge without a node, a label without a class, a node without features, or
            a split with no or foreign nodes.
    """
    nodes = graph.nodes
    if graph.features.ndim != 2 or len(graph.features) != nodes or 0 in graph.features.shape:
        raise _broken(
            where, f"it has features of the shape {graph.features.shape} for {nodes} nodes"
        )
    if not np.isfinite(graph.features).all():
        raise _broken(where, "its features are not all finite")
    if graph.edges.ndim != 2 or len(graph.edges) != 2 or _outside(graph.edges, nodes):
        raise _broken(where, f"an edge joins a node that is not among the {nodes}")
    if ((graph.labels < -1) | (graph.labels >= len(graph.classes))).any():
        raise _broken(where, f"a label is none of the {len(graph.classes)} classes")
    for name in ("train", "validation", "test"):
        part = getattr(graph, name)
        if not part.size or _outside(part, nodes):
            raise _broken(where, f"its {name} nodes are missing or not among the {nodes}")
        if (graph.labels[part] < 0).any():
            raise _broken(where, f"a node of its {name} split has no class")
    return graph


def _outside(indices: NDArray[np.int64], nodes: int) -> bool:
    return bool(((indices < 0) | (indices >= nodes)).any())


def _broken(where: object, what: str) -> ArtefactError:
    return ArtefactError(
        f"{where} is no usable graph: {what}", hint="write or download its files again"
    )
