"""A small graph whose nodes are easy to tell apart.

Two rings, joined once, each with features of its own.
"""

from __future__ import annotations

import numpy as np

from edgeq.data import GraphData
from edgeq.data.graph import undirected

NODES = 40


def two_rings() -> GraphData:
    """Twenty nodes a class; every fifth one validates, the one behind it tests."""
    half = NODES // 2
    ring = np.arange(half)
    pairs = np.concatenate(
        [[ring, (ring + 1) % half], [ring + half, (ring + 1) % half + half], [[0], [half]]], 1
    )
    labels = np.repeat([0, 1], half)
    rng = np.random.default_rng(0)
    features = (
        rng.random((NODES, 12)) < 0.2 + 0.6 * (np.arange(12) % 2 == labels[:, None])
    ).astype(np.float32)
    where = np.arange(NODES)
    return GraphData(
        "rings",
        ("left", "right"),
        features,
        undirected(pairs),
        labels,
        where[where % 5 > 1],
        where[where % 5 == 0],
        where[where % 5 == 1],
    )
