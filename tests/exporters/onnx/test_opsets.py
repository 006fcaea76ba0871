"""Older operator sets: the same numbers, or a refusal that names the node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from tests.support.checks.spellings import assert_same_numbers, real_tensors
from tests.support.models.qdq_models import S8, U8, Graph, Grid

from edgeq.errors import ArtefactError
from edgeq.exporters.onnx.dialects import to_dialect
from edgeq.exporters.onnx.opsets import to_opset
from edgeq.formats.dialect import Dialect

if TYPE_CHECKING:
    import onnx_ir as ir

X = np.random.default_rng(0).normal(0, 1, (2, 4, 6, 6)).astype(np.float32)


def at(model: ir.Model, opset: int) -> ir.Model:
    written = to_dialect(model, Dialect(opset=opset))
    assert written.graph.opset_imports[""] == opset
    return written


def one_op(op: str, constants: list[Any], grid: Grid = S8, **attributes: Any) -> ir.Model:
    graph = Graph()
    x = graph.input("x", ["N", 4, 6, 6], S8)
    inputs = [
        x,
        *(
            graph.constant(f"c{i}", np.asarray(value)) if value is not None else ""
            for i, value in enumerate(constants)
        ),
    ]
    graph.op(op, inputs, "y", grid, **attributes)
    return graph.output()


AXES = np.array([2, 3], np.int64)
CASES: dict[str, ir.Model] = {
    "ReduceMean": one_op("ReduceMean", [AXES], keepdims=1),
    "ReduceMax": one_op("ReduceMax", [AXES], noop_with_empty_axes=0),
    "Reshape": one_op("Reshape", [np.array([0, -1], np.int64)], allowzero=0),
    "Pad": one_op("Pad", [np.array([1, 1, 1, 1], np.int64), np.float32(0), AXES]),
    "MaxPool": one_op("MaxPool", [], kernel_shape=[2, 2]),
    "Transpose": one_op("Transpose", [], perm=[0, 2, 3, 1]),
    "Add": one_op("Add", [np.float32(0.3)]),
    "HardSigmoid": one_op("HardSigmoid", []),
}


@pytest.mark.parametrize("opset", [13, 17, 18, 19, 20])
@pytest.mark.parametrize("name", CASES)
def test_numbers_are_the_same(name: str, opset: int) -> None:
    assert_same_numbers(CASES[name], at(CASES[name], opset), X)


@pytest.mark.parametrize("opset", [13, 16, 19])
def test_a_network(opset: int) -> None:
    graph = Graph()
    x = graph.input("x", ["N", 4, 6, 6], S8)
    y = graph.weighted(
        "Conv", x, "conv", (8, 4, 3, 3), U8, per_channel=True, relu=True, kernel_shape=[3, 3]
    )
    graph.op("GlobalAveragePool", [y], "pool", U8)
    model = graph.output()
    assert_same_numbers(model, at(model, opset), X)


def test_split_gets_its_sizes() -> None:
    graph = Graph()
    x = graph.input("x", ["N", 4, 6, 6], S8)
    graph.nodes.append(
        onnx.helper.make_node("Split", [x], ["a", "b"], name="split", axis=1, num_outputs=2)
    )
    graph.op("Add", ["a", "b"], "y", S8)
    model = graph.output()
    assert_same_numbers(model, at(model, 13), X)


def test_an_average_differs_where_kernels_round_a_tie_otherwise() -> None:
    """Before opset 19 ONNX Runtime has another kernel, which adds in another order."""
    model = one_op("AveragePool", [], kernel_shape=[2, 2], dilations=[1, 1])
    before, after = real_tensors(model, X), real_tensors(at(model, 13), X)
    steps = np.abs(before["output 0"] - after["output 0"]) / S8.scale
    assert steps.max() <= 1.001
    assert np.mean(steps > 0.5) < 0.15


def test_a_model_that_is_old_already_stays() -> None:
    graph = Graph()
    graph.input("x", ["N", 4, 6, 6], S8)
    model = graph.model("x_dequantized", opset=17)
    assert to_opset(model, 21) is model
    assert model.graph.opset_imports[""] == 17


@pytest.mark.parametrize(
    ("model", "opset", "why"),
    [
        (one_op("Gelu", []), 19, "Gelu 'y/Gelu' has no exact form in ONNX opset 19: it came later"),
        (one_op("Gelu", []), 13, "it came later"),
        (
            one_op("AveragePool", [], kernel_shape=[2, 2], strides=[2, 2], dilations=[2, 2]),
            18,
            "its dilations came later",
        ),
        (
            one_op("AveragePool", [], kernel_shape=[4, 4], strides=[4, 4], ceil_mode=1),
            18,
            "averaged otherwise",
        ),
        (one_op("Relu", [], Grid(0.001, 0, "int16")), 20, "it stores int16"),
        (one_op("Relu", []), 12, "no scales by channel"),
    ],
)
def test_what_has_no_exact_form_is_named(model: ir.Model, opset: int, why: str) -> None:
    with pytest.raises(ArtefactError, match=why):
        to_dialect(model, Dialect(opset=opset))
