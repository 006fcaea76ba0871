"""Cora, CiteSeer and PubMed, as Kipf and Welling (2017) split them.

The files are those of Yang, Cohen and Salakhutdinov (2016).

``ind.<name>.allx`` and ``.ally`` hold the features and one-hot labels of all nodes but the test
nodes; their first rows, which are ``.x`` and ``.y`` again, train and the next 500 validate. ``.tx``
and ``.ty`` hold the test nodes in the order of ``.test.index``. CiteSeer's index has gaps: papers
without words or class, which stay in the graph with features of zero.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.data.dataset import GraphDataset
from edgeq.data.graph import GraphData, check_graph, undirected
from edgeq.data.readers.unpickle import (
    PickledArray,
    PickledMatrix,
    read_pickled_part,
    refusing_malformed,
)
from edgeq.files import read_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

VALIDATION = 500
WHAT = "Planetoid file"
MAX_FILE_BYTES = 1 << 26  # PubMed's largest has 10 MB
MAX_ELEMENTS = 1 << 28  # features of all nodes as float32: 1 GB, of which PubMed needs 40 MB
MAX_NODES = 1 << 20
PARTS = ("x", "y", "tx", "ty", "allx", "ally", "graph", "test.index")


def read_graph(name: str, classes: tuple[str, ...], paths: tuple[Path, ...]) -> GraphData:
    """The graph of eight files, in the order of :data:`PARTS`.

    Raises:
        ArtefactError: a file is missing, broken, hostile or does not fit the others.
    """
    x, y, tx, ty, allx, ally, graph, test_index = paths
    known, known_labels = _matrix(allx), _labels(ally, len(classes))
    test, test_labels = _matrix(tx), _labels(ty, len(classes))
    train = len(_labels(y, len(classes)))
    index = _test_index(test_index)
    with refusing_malformed(allx, WHAT):
        _expect(
            _matrix(x).shape == (train, known.shape[1]),
            f"its rows do not fit {x.name} and {y.name}",
        )
        _expect(
            known.shape[1] == test.shape[1],
            f"it has {known.shape[1]} features a node, and {tx.name} {test.shape[1]}",
        )
        _expect(
            len(known) == len(known_labels) and len(test) == len(test_labels),
            "it has not one label a node",
        )
        _expect(
            len(known) >= train + VALIDATION,
            f"it has {len(known)} nodes, too few for {train} and {VALIDATION} that validate",
        )
    with refusing_malformed(test_index, WHAT):
        _expect(
            len(np.unique(index)) == len(index) == len(test),
            f"it has not one place for each of the {len(test)} test nodes",
        )
        _expect(
            len(known) <= index.min() and index.max() < MAX_NODES,
            f"its places do not begin behind the {len(known)} other nodes",
        )
        nodes = int(index.max()) + 1
        _expect(
            nodes * known.shape[1] <= MAX_ELEMENTS,
            f"{nodes} nodes of {known.shape[1]} features are too many",
        )
    features = np.zeros((nodes, known.shape[1]), np.float32)
    labels = np.full(nodes, -1, np.int64)
    features[: len(known)], labels[: len(known)] = known, known_labels
    features[index], labels[index] = test, test_labels
    found = GraphData(
        name,
        classes,
        features,
        undirected(_pairs(graph)),
        labels,
        train=np.arange(train),
        validation=np.arange(train, train + VALIDATION),
        test=np.sort(index),
    )
    return check_graph(found, graph.parent)


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _matrix(path: Path) -> NDArray[np.float32]:
    """A sparse matrix as a dense one, each of its indices held against its shape."""
    found = read_pickled_part(path, WHAT, limit=MAX_FILE_BYTES)
    with refusing_malformed(path, WHAT):
        if not isinstance(found, PickledMatrix):
            raise TypeError("it holds no sparse matrix")
        rows, columns = found.state["_shape"]
        _expect(
            type(rows) is int and type(columns) is int and rows > 0 and columns > 0,
            "its shape is no pair of sizes",
        )
        _expect(
            math.prod((rows, columns)) <= MAX_ELEMENTS,
            f"a matrix of {rows} x {columns} is too large",
        )
        starts, where, values = (
            _array(found.state[key], code)
            for key, code in (("indptr", "i4"), ("indices", "i4"), ("data", "f4"))
        )
        counts = np.diff(starts)
        _expect(
            starts.shape == (rows + 1,) and starts[0] == 0 and bool((counts >= 0).all()),
            "its rows do not begin in order",
        )
        _expect(
            where.shape == values.shape == (int(starts[-1]),), "it has not one place for each value"
        )
        _expect(
            not where.size or (where.min() >= 0 and where.max() < columns),
            f"a place is not among its {columns} columns",
        )
        dense = np.zeros((rows, columns), np.float32)
        np.add.at(dense, (np.repeat(np.arange(rows), counts), where), values)
        return dense


def _labels(path: Path, classes: int) -> NDArray[np.int64]:
    """Labels from one row of zeros and a one for each node; -1 where a row has no one."""
    found = read_pickled_part(path, WHAT, limit=MAX_FILE_BYTES)
    with refusing_malformed(path, WHAT):
        one_hot = _array(found, "i4")
        _expect(
            one_hot.ndim == 2 and one_hot.shape[1] == classes and len(one_hot) > 0,
            f"its labels are no rows of {classes} classes",
        )
        _expect(
            bool(((one_hot == 0) | (one_hot == 1)).all()) and int(one_hot.sum(1).max()) <= 1,
            "a node has more than one class",
        )
        return np.where(one_hot.any(1), one_hot.argmax(1), -1)


def _array(found: object, code: str) -> NDArray[Any]:
    if not isinstance(found, PickledArray):
        raise TypeError("something stands where an array belongs")
    return found.value(code)


def _pairs(path: Path) -> NDArray[np.int64]:
    """Every node with each of its neighbours: (2, pairs)."""
    found = read_pickled_part(path, WHAT, limit=MAX_FILE_BYTES)
    with refusing_malformed(path, WHAT):
        if not isinstance(found, dict) or not all(
            isinstance(beside, list) for beside in found.values()
        ):
            raise ValueError("it holds no lists of neighbours")
        pairs = [(node, neighbour) for node, beside in found.items() for neighbour in beside]
        _expect(
            all(type(node) is int for pair in pairs for node in pair),
            "a neighbour is no whole number",
        )
        return np.array(pairs, np.int64).reshape(-1, 2).T


def _test_index(path: Path) -> NDArray[np.int64]:
    content = read_bytes(path, WHAT, limit=MAX_FILE_BYTES)
    with refusing_malformed(path, WHAT):
        return np.array([int(line) for line in content.split()], np.int64)


def _dataset(name: str, title: str, classes: int, nodes: int, features: int) -> GraphDataset:
    summary = (
        f"{title}, a citation graph: {20 * classes} nodes to train, 500 to validate, 1,000 to test"
    )
    read = partial(read_graph, name, tuple(str(label) for label in range(classes)))
    files = tuple(f"planetoid/ind.{name}.{part}" for part in PARTS)
    return GraphDataset(
        name,
        summary,
        classes,
        (nodes, features),
        read,
        (files,),
        f"put the eight files planetoid/ind.{name}.*",
    )


load_cora = _dataset("cora", "Cora", 7, 2_708, 1_433)
load_citeseer = _dataset("citeseer", "CiteSeer", 6, 3_327, 3_703)
load_pubmed = _dataset("pubmed", "PubMed", 3, 19_717, 500)
