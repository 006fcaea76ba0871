"""Planetoid's files are read as their authors meant them.

What is broken, hostile or does not fit is refused by name.
"""

from __future__ import annotations

import os
import pickle
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeq.data import GRAPHS, GraphData, load_graph
from edgeq.data.readers.planetoid import PARTS, read_graph
from edgeq.errors import ArtefactError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

KNOWN, TRAIN, FEATURES, CLASSES = 510, 4, 3, 2
INDEX = [512, 510, 513]  # out of order, and without 511
CLASS_NAMES = tuple(str(label) for label in range(CLASSES))


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def text(value: str) -> bytes:
    return b"U" + bytes([len(value)]) + value.encode("latin1")


def array(values: NDArray[Any]) -> bytes:
    """Protocol 2 as cPickle of Python 2 writes an array."""
    raw = values.tobytes()
    dtype = (
        b"cnumpy\ndtype\n"
        + text(values.dtype.str[1:])
        + b"K\x00K\x01\x87R(K\x03"
        + text("<")
        + b"NNN"
        + number(-1)
        + number(-1)
        + b"K\x00tb"
    )
    begin = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text("b") + b"\x87R"
    )
    shape = b"(" + b"".join(map(number, values.shape)) + b"t"
    return begin + b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"


def matrix(dense: NDArray[np.float32], **changed: bytes) -> bytes:
    """A csr_matrix, any attribute of which may be replaced."""
    rows, columns = np.nonzero(dense)
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(dense)))]).astype(
        np.int32
    )
    state = {
        "format": text("csr"),
        "_shape": number(dense.shape[0]) + number(dense.shape[1]) + b"\x86",
        "indptr": array(starts),
        "indices": array(columns.astype(np.int32)),
        "data": array(dense[rows, columns]),
        "maxprint": number(50),
    } | changed
    items = b"".join(text(key) + value for key, value in state.items())
    return b"\x80\x02cscipy.sparse.csr\ncsr_matrix\n)\x81}(" + items + b"ub."


def labels(count: int) -> bytes:
    return b"\x80\x02" + array(np.eye(CLASSES, dtype=np.int32)[np.arange(count) % CLASSES]) + b"."


def neighbours(lists: dict[int, list[int]]) -> bytes:
    items = b"".join(
        number(node) + b"](" + b"".join(map(number, beside)) + b"e"
        for node, beside in lists.items()
    )
    return b"\x80\x02ccollections\ndefaultdict\nc__builtin__\nlist\n\x85R(" + items + b"u."


def dense(count: int, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return (rng.random((count, FEATURES)) < 0.5).astype(np.float32)


def contents() -> dict[str, bytes]:
    return {
        "x": matrix(dense(KNOWN, 0)[:TRAIN]),
        "y": labels(TRAIN),
        "tx": matrix(dense(len(INDEX), 1)),
        "ty": labels(len(INDEX)),
        "allx": matrix(dense(KNOWN, 0)),
        "ally": labels(KNOWN),
        "graph": neighbours({0: [1, 512, 1], 1: [0], 2: [2], 513: [0]}),
        "test.index": b"".join(b"%d\n" % place for place in INDEX),
    }


def read(folder: Path, **changed: bytes) -> GraphData:
    for part, content in (
        contents() | {name.replace("_", "."): value for name, value in changed.items()}
    ).items():
        (folder / f"ind.small.{part}").write_bytes(content)
    return read_graph("small", CLASS_NAMES, tuple(folder / f"ind.small.{part}" for part in PARTS))


def test_reads_every_part(tmp_path: Path) -> None:
    graph = read(tmp_path)
    assert graph.shape == (514, FEATURES)
    assert np.array_equal(graph.features[:KNOWN], dense(KNOWN, 0))
    assert np.array_equal(graph.features[INDEX], dense(3, 1))
    assert graph.labels[INDEX].tolist() == [0, 1, 0]
    assert graph.edges.tolist() == [[0, 0, 0, 1, 512, 513], [1, 512, 513, 0, 0, 0]], (
        "no pair twice, both directions, none with itself"
    )
    assert graph.train.tolist() == [0, 1, 2, 3]
    assert (graph.validation[0], graph.validation[-1], len(graph.validation)) == (4, 503, 500)
    assert graph.test.tolist() == [510, 512, 513]


def test_a_gap_in_the_index_is_a_node_of_zeros_without_a_class(tmp_path: Path) -> None:
    graph = read(tmp_path)
    assert not graph.features[511].any()
    assert graph.labels[511] == -1
    assert 511 not in graph.test
    assert not graph.normalized()[511].any()


def test_the_normalised_features_of_a_node_sum_to_one(tmp_path: Path) -> None:
    graph = read(tmp_path)
    sums = graph.normalized().sum(1)
    assert np.allclose(sums[graph.features.any(1)], 1)


class Runs:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call[0], tuple(self.call[1:])


@pytest.mark.parametrize("part", [part for part in PARTS if part != "test.index"])
def test_a_malicious_pickle_is_refused_by_name_and_does_not_run(tmp_path: Path, part: str) -> None:
    victim = tmp_path / "victim"
    with pytest.raises(ArtefactError, match=r"wants to call (posix|nt)\.system"):
        read(tmp_path, **{part: pickle.dumps(Runs(os.system, f"touch {victim}"), 2)})
    assert not victim.exists()


BROKEN = {
    "truncated": {"allx": matrix(dense(KNOWN, 0))[:-40]},
    "no pickle": {"graph": b"neither this"},
    "an array for a matrix": {"tx": labels(3)},
    "a matrix for labels": {"ty": matrix(dense(3, 0))},
    "a list for a dictionary": {"graph": pickle.dumps([1], 2)},
    "labels of another count": {"ty": labels(2)},
    "a huge shape": {
        "allx": matrix(dense(KNOWN, 0), _shape=number(2**30) + number(2**30) + b"\x86")
    },
    "a negative shape": {"allx": matrix(dense(KNOWN, 0), _shape=number(-1) + number(3) + b"\x86")},
    "rows out of order": {
        "tx": matrix(dense(3, 1), indptr=array(np.array([0, 2, 1, 4], np.int32)))
    },
    "a column outside": {
        "tx": matrix(dense(3, 1), indices=array(np.full(int(dense(3, 1).sum()), 3, np.int32)))
    },
    "a negative column": {
        "tx": matrix(dense(3, 1), indices=array(np.full(int(dense(3, 1).sum()), -1, np.int32)))
    },
    "too few values": {"tx": matrix(dense(3, 1), data=array(np.ones(1, np.float32)))},
    "values of another type": {
        "tx": matrix(dense(3, 1), data=array(np.ones(int(dense(3, 1).sum()), np.float64)))
    },
    "a number for an array": {"tx": matrix(dense(3, 1), data=number(7))},
    "another width": {"tx": matrix(np.ones((3, FEATURES + 1), np.float32))},
    "an edge to no node": {"graph": neighbours({0: [514]})},
    "an edge from below": {"graph": neighbours({-1: [0]})},
    "text for a neighbour": {"graph": b"\x80\x02}(K\x00](" + text("a") + b"eu."},
    "a place twice": {"test_index": b"510\n510\n512\n"},
    "a place among the others": {"test_index": b"510\n3\n512\n"},
    "a place far away": {"test_index": b"510\n99999999999999999999\n512\n"},
    "a place too far away": {"test_index": b"510\n511\n2000000\n"},
    "no numbers": {"test_index": b"one\ntwo\n"},
    "a test node without a class": {
        "ty": b"\x80\x02" + array(np.zeros((3, CLASSES), np.int32)) + b"."
    },
    "two classes": {"y": b"\x80\x02" + array(np.ones((TRAIN, CLASSES), np.int32)) + b"."},
    "features that are no numbers": {"tx": matrix(np.full((3, FEATURES), np.nan, np.float32))},
}


@pytest.mark.parametrize("changed", BROKEN.values(), ids=list(BROKEN))
def test_broken_files_are_refused(tmp_path: Path, changed: dict[str, bytes]) -> None:
    with pytest.raises(ArtefactError, match=r"no (published Planetoid file|usable graph)"):
        read(tmp_path, **changed)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_flipped_bytes_never_escape_as_another_error(tmp_path: Path, data: st.DataObject) -> None:
    part = data.draw(st.sampled_from(["tx", "ty", "graph", "test_index"]))
    content = bytearray(contents()[part.replace("_", ".")])
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ArtefactError):
        read(tmp_path, **{part: bytes(content)})


def test_the_graphs_are_registered_and_say_what_is_missing(tmp_path: Path) -> None:
    assert {"cora", "citeseer", "pubmed"} <= set(GRAPHS.names())
    with pytest.raises(ArtefactError, match=r"'pubmed' is not in .*planetoid/ind\.pubmed\.x"):
        load_graph("pubmed", tmp_path)
    with pytest.raises(UsageError, match="digits holds images"):
        load_graph("digits", tmp_path)


@pytest.mark.parametrize(
    ("name", "shape", "edges", "classes", "without"),
    [("cora", (2708, 1433), 10_556, 7, 0), ("citeseer", (3327, 3703), 9_104, 6, 15)],
)
def test_the_published_graphs(
    data_dir: Path, name: str, shape: tuple[int, int], edges: int, classes: int, without: int
) -> None:
    graph = load_graph(name, data_dir)
    assert (graph.shape, graph.edges.shape[1], len(graph.classes)) == (shape, edges, classes)
    assert np.bincount(graph.labels[graph.train]).tolist() == [20] * classes
    assert (len(graph.validation), len(graph.test)) == (500, 1000)
    assert int((graph.labels < 0).sum()) == without
