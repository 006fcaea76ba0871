"""Weights of -1 and +1 in ONNX files: an eighth of the bytes, the same integers and answers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.support.models.qdq_models import S8, Graph

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.onnx import exporter
from edgeq.exporters.tflite import exporter as tflite
from edgeq.formats.onnx_io import parse
from edgeq.qdq.ir import QdqConstant
from edgeq.qdq.normal_form.one_bit import TABLE, packed, with_unpacked_weights
from edgeq.qdq.reader import read_qdq

ONE_BIT = ExportOptions(weight_storage="one-bit")


def net() -> Graph:
    """Convolutions and a dense layer of -1 and +1, sizes with and without a rest, and one wider."""
    graph = Graph()
    x = graph.input("x", ["N", 6, 5, 5], S8)
    window: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    a = graph.weighted("Conv", x, "a", (5, 6, 3, 3), S8, levels=7, per_channel=True, **window)
    b = graph.weighted("Conv", a, "b", (5, 1, 3, 3), S8, levels=7, group=5, **window)
    c = graph.weighted("Conv", b, "c", (8, 5, 1, 1), S8, levels=7, kernel_shape=[1, 1])
    pooled = graph.op("GlobalAveragePool", [c], "pool", S8)
    graph.node("Flatten", [pooled], "flat")
    graph.scales["flat"] = graph.scales[pooled]
    graph.weighted("Gemm", "flat", "y", (7, 8), S8, levels=7, transB=1)
    for tensor in graph.constants:
        if tensor.name.endswith("weight_quantized") and not tensor.name.startswith("c."):
            signs = np.where(onnx.numpy_helper.to_array(tensor) < 0, -1, 1).astype(np.int8)
            tensor.CopyFrom(onnx.numpy_helper.from_array(signs, tensor.name))
    return graph


def answers(content: bytes, *, optimised: bool) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(1).normal(0, 1, (16, 6, 5, 5)).astype(np.float32)
    return np.asarray(session.run(None, {"x": images})[0])


def weights_of(content: bytes) -> dict[str, np.ndarray]:
    view = read_qdq(parse(content, "a test's file"))
    return {
        op.name: operand.values
        for op in view.ops
        for operand in op.inputs
        if isinstance(operand, QdqConstant) and operand.values.dtype == np.int8
    }


@given(arrays(np.int8, st.integers(1, 40), elements=st.sampled_from([-1, 1])))
def test_the_table_gives_back_what_was_packed(weights: np.ndarray) -> None:
    data = packed(weights)
    assert data.nbytes == math.ceil(weights.size / 8)
    assert (TABLE[data].reshape(-1)[: weights.size] == weights).all()


def test_only_weights_of_one_bit_are_stored_so() -> None:
    written = exporter.export(net().output(), ONE_BIT)
    assert written.parity.different == ()
    plain = exporter.export(net().output(), ExportOptions())
    assert written.parity.compared == plain.parity.compared
    stored = parse(written.content, "a test's file").graph.initializers
    sizes = {name: value.const_value.nbytes for name, value in stored.items() if value.const_value}
    assert {name: size for name, size in sizes.items() if name.endswith("_bits")} == {
        "a.weight_quantized_bits": 34,  # 270 weights
        "b.weight_quantized_bits": 6,
        "y.weight_quantized_bits": 7,
    }
    assert "a.weight_quantized" not in stored
    assert stored["c.weight_quantized"].dtype == ir.DataType.INT8


@pytest.mark.parametrize("optimised", [False, True])
def test_answers_are_those_of_the_int8_file_bit_for_bit(*, optimised: bool) -> None:
    plain, small = (
        exporter.export(net().output(), options).content for options in (ExportOptions(), ONE_BIT)
    )
    np.testing.assert_array_equal(
        answers(plain, optimised=optimised), answers(small, optimised=optimised)
    )


def test_the_integers_are_read_back_and_go_on_to_tflite() -> None:
    plain, small = (
        exporter.export(net().output(), options).content for options in (ExportOptions(), ONE_BIT)
    )
    expected, found = weights_of(plain), weights_of(small)
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(values, found[name])
    unpacked = with_unpacked_weights(parse(small, "a test's file"))
    assert {node.op_type for node in unpacked.graph}.isdisjoint({"Gather", "Cast", "Slice"})
    assert not [name for name in unpacked.graph.initializers if name.startswith("dims")]
    one, other = (
        tflite.export(parse(content, "a test's file"), ExportOptions()).content
        for content in (plain, small)
    )
    assert one == other


@pytest.mark.parametrize("change", ["cut", "shape", "table"])
def test_what_is_not_quite_that_is_no_weight(change: str) -> None:
    """A damaged file ends in an error, and not in other weights."""
    model = parse(exporter.export(net().output(), ONE_BIT).content, "a test's file")
    wrong: dict[str, tuple[str, np.ndarray]] = {
        "cut": ("dims_270", np.array([271], np.int64)),
        "shape": ("dims_5_6_3_3", np.array([5, 6, 3, 4], np.int64)),
        "table": ("weights_of_a_byte", TABLE[:7]),
    }
    name, content = wrong[change]
    model.graph.initializers[name].const_value = ir.tensor(content)
    model.graph.initializers[name].shape = ir.Shape(content.shape)
    with pytest.raises(ArtefactError):
        read_qdq(model)


def test_tflite_says_that_it_has_no_such_type() -> None:
    with pytest.raises(ArtefactError, match="TFLite has no weights of one bit") as refused:
        tflite.export(net().output(), ONE_BIT)
    assert "ONNX" in refused.value.hint
