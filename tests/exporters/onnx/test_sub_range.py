"""Every dialect of a random network gives the network's integers, whatever its sub-range."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.exporters.tflite.test_random_graphs import graphs
from tests.support.checks.spellings import assert_same_numbers, run
from tests.support.models.qdq_models import S4, S8, U4, U8, Graph, Grid

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.onnx import exporter
from edgeq.exporters.onnx.dialects import to_dialect
from edgeq.formats.dialect import CANONICAL, SATURATING, TENSORRT, Dialect
from edgeq.formats.onnx_io import parse
from edgeq.qdq.reader import read_qdq

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DIALECTS = {
    "clip in uint8": CANONICAL,
    "clip in int8": Dialect(activation_dtype="int8"),
    "saturate in uint8": SATURATING,
    "saturate in int8": Dialect(activation_dtype="int8", sub_range="saturate"),
    "saturate, opset 19": Dialect(sub_range="saturate", opset=19),
    "float biases": Dialect(float_biases=True, kernel_shape=True, opset=19),
}
SYMMETRIC = (Grid(0.02, 0, "int8"), Grid(0.03, 0, "uint8", (0, 127)), U4, S4, S8)


def samples(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 2, shape).astype(np.float32)


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def narrowed(grid: Grid, *, relu: bool) -> Graph:
    """A convolution onto a narrow grid, and one that reads it."""
    graph = Graph()
    x = graph.input("x", ["N", 4, 6, 6], S8)
    a = graph.weighted(
        "Conv", x, "a", (4, 4, 3, 3), grid, relu=relu, kernel_shape=[3, 3], pads=[1] * 4
    )
    graph.weighted("Conv", a, "b", (4, 4, 1, 1), S8, kernel_shape=[1, 1])
    return graph


def zero_point(node: ir.Node) -> NDArray[np.generic]:
    """The constant zero point of a quantiser."""
    value = node.inputs[2]
    assert value is not None
    assert value.const_value is not None
    return value.const_value.numpy()


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(graphs(), st.sampled_from(sorted(DIALECTS)))
def test_no_number_changes_in_any_dialect(graph: Graph, dialect: str) -> None:
    model = graph.output()
    exported = exporter.export(model, ExportOptions(dialect=DIALECTS[dialect]))
    assert exported.parity.different == ()
    assert_same_numbers(model, parse(exported.content, ""), samples((2, 4, 6, 6)))


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("grid", SYMMETRIC, ids=str)
def test_no_number_changes_in_a_symmetric_dialect(grid: Grid, relu: bool) -> None:
    model = narrowed(grid, relu=relu).output()
    exported = exporter.export(model, ExportOptions(dialect=TENSORRT))
    assert exported.parity.different == ()
    written = parse(exported.content, "")
    assert_same_numbers(model, written, samples((3, 4, 6, 6)))
    quantizers = [node for node in written.graph if node.op_type == "QuantizeLinear"]
    zeros = [zero_point(node) for node in quantizers]
    assert {zero.dtype.name for zero in zeros} == {"int8"}
    assert not any(zero.any() for zero in zeros)
    assert written.graph.opset_imports[""] == 19
    stored = {
        str(tensor.const_value.dtype)
        for tensor in written.graph.initializers.values()
        if tensor.const_value is not None
    }
    assert stored == {"INT8", "FLOAT"}


@pytest.mark.parametrize("grid", [U8, Grid(0.02, 100), Grid(0.02, 3, "int8")], ids=str)
def test_what_does_not_fit_around_zero_is_refused_by_name(grid: Grid) -> None:
    with pytest.raises(ArtefactError, match="'a_quantized/QuantizeLinear' has the zero point"):
        to_dialect(narrowed(grid, relu=True).output(), TENSORRT)


class TestSaturation:
    def test_an_unsigned_range_ends_in_saturation_and_starts_at_a_relu(self) -> None:
        written = to_dialect(narrowed(U4, relu=True).output(), SATURATING)
        chain = [
            node
            for node in written.graph
            if (node.outputs[0].name or "").startswith("a_") or node.op_type == "Relu"
        ]
        assert [node.op_type for node in chain] == [
            "Conv",
            "QuantizeLinear",
            "DequantizeLinear",
            "Relu",
            "QuantizeLinear",
            "DequantizeLinear",
        ]
        zeros = {int(zero_point(node)) for node in chain if node.op_type == "QuantizeLinear"}
        assert zeros == {240}

    def test_a_signed_range_starts_at_a_maximum(self) -> None:
        counts = operators(to_dialect(narrowed(S4, relu=False).output(), SATURATING))
        assert (counts["Max"], counts["Clip"], counts["Relu"]) == (1, 0, 0)

    def test_wide_ranges_stay_as_they_are(self) -> None:
        model = narrowed(U8, relu=True).output()
        assert operators(to_dialect(model, SATURATING)) == operators(model)

    @pytest.mark.parametrize(("grid", "relu"), [(U4, True), (U4, False), (S4, True)])
    def test_the_integer_view_of_it_is_the_same(self, grid: Grid, relu: bool) -> None:
        model = narrowed(grid, relu=relu).output()
        before, after = read_qdq(model), read_qdq(to_dialect(model, SATURATING))
        assert [op.op_type for op in after.ops] == [op.op_type for op in before.ops]
        ranges = [
            [(t.low - t.zero_point, t.high - t.zero_point) for t in graph.tensors().values()]
            for graph in (before, after)
        ]
        assert ranges[0] == ranges[1]

    @pytest.mark.parametrize("level", ["basic", "all"])
    def test_the_optimiser_leaves_the_numbers_alone(self, level: str, tmp_path: Path) -> None:
        model = narrowed(U4, relu=True).output()
        x = samples((4, 4, 6, 6))
        expected, _ = run(ir.to_proto(model), x, "off")
        found, _ = run(ir.to_proto(to_dialect(model, SATURATING)), x, level, tmp_path)
        assert np.abs(found[0] - expected[0]).max() <= S8.scale * 1.001


def test_a_clip_behind_a_pool_is_not_left_to_saturation_where_pairs_would_meet() -> None:
    """Two Q/DQ pairs in a row are merged by ONNX Runtime, on a grid of its own making."""
    graph = Graph()
    x = graph.input("x", ["N", 4, 6, 6], U8)
    pooled = graph.op("MaxPool", [x], "pool", U8, kernel_shape=[2, 2])
    graph.node("Identity", [pooled], "narrowed")
    graph.quantize("narrowed", U4)
    model = graph.output()
    assert operators(to_dialect(model, Dialect(activation_dtype="int8")))["Clip"] == 1
    saturated = to_dialect(model, SATURATING)
    assert (operators(saturated)["Clip"], operators(saturated)["Relu"]) == (0, 1)
    assert_same_numbers(model, saturated, np.abs(samples((2, 4, 6, 6))))
