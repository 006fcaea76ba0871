"""What a batch and a bound make of single operators.

Shapes as ONNX Runtime computes them, or a refusal by name.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.models.qdq_models import Graph, Grid, onnx_integers

from edgeq.errors import ArtefactError
from edgeq.qdq.reader import read_qdq

GRID = Grid(0.02, 128)
LISTS: dict[str, list[int] | None] = {
    "none": None,
    "empty": [],
    "first": [0],
    "first from the end": [-3],
}


def squeezed(batch: int | str, axes: list[int] | None) -> Graph:
    graph = Graph(np.random.default_rng(0))
    graph.input("x", [batch, 1, 3], GRID)
    inputs = ["x_dequantized"] if axes is None else ["x_dequantized", graph.ints("axes", axes)]
    graph.op("Squeeze", inputs, "y", GRID)
    return graph


@pytest.mark.parametrize("axes", LISTS.values(), ids=LISTS)
def test_a_batch_of_one_is_squeezed_as_in_onnx_runtime(axes: list[int] | None) -> None:
    proto = squeezed(1, axes).proto("y_dequantized")
    found = onnx_integers(proto, {"x": np.ones((1, 1, 3), np.float32)}, ["y_quantized"])[
        "y_quantized"
    ]
    assert read_qdq(ir.from_proto(proto)).outputs[0].tensor.shape == found.shape


@pytest.mark.parametrize("axes", LISTS.values(), ids=LISTS)
def test_an_open_batch_is_not_squeezed(axes: list[int] | None) -> None:
    with pytest.raises(ArtefactError, match="takes away the axis of an open batch"):
        read_qdq(squeezed("N", axes).output())


def test_other_axes_of_an_open_batch_are_squeezed() -> None:
    assert read_qdq(squeezed("N", [1]).output()).outputs[0].tensor.shape == (1, 3)


def mixed(batch: int | str, op: str) -> Graph:
    graph = Graph(np.random.default_rng(0))
    graph.input("x", [batch, 4, 3], GRID)
    if op.startswith("Reduce"):
        graph.op(op, ["x_dequantized"], "y", GRID, keepdims=1)
    else:
        graph.op(op, ["x_dequantized"], "y", Grid(1 / 256, 0), axis=-3)
    return graph


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum", "ReduceMax", "Softmax"])
def test_samples_of_an_open_batch_are_not_mixed(op: str) -> None:
    with pytest.raises(ArtefactError, match=f"{op} 'y/{op}' mixes the samples of an open batch"):
        read_qdq(mixed("N", op).output())
    assert read_qdq(mixed(1, op).output()).ops[-1].op_type == op


@pytest.mark.parametrize(
    ("op", "operands"), [("Pow", ["x_dequantized", "power"]), ("Sqrt", ["x_dequantized"])]
)
def test_no_bound_after_what_is_not_a_number(op: str, operands: list[str]) -> None:
    def rooted(low: int) -> Graph:
        graph = Graph(np.random.default_rng(0))
        graph.input("x", ["N", 3], Grid(0.02, 1, "uint8", (low, 255)))
        graph.number("power", 1.5)
        graph.op(op, operands, "y", Grid(0.02, 1), relu=True)
        return graph

    with pytest.raises(ArtefactError, match=f"{op} '.*' has no value for some of its input"):
        read_qdq(rooted(0).output())
    assert read_qdq(rooted(1).output()).ops[-1].op_type in ("Lookup", op)
