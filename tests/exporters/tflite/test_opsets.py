"""One model gives one file in every operator set that is read; 4 and 2 bits by their set."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import version_converter
from tests.support.models.qdq_models import S8, Graph

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.qdq.ir import QdqConstant
from edgeq.qdq.reader import read_qdq

FIRST, LAST = 13, 25


def model() -> onnx.ModelProto:
    """Operators whose words changed between the sets.

    Axes and pads as attributes or inputs, new attributes of Q and DQ.
    """
    graph = Graph()
    x = graph.input("x", ["N", 4, 8, 8], S8)
    a = graph.weighted(
        "Conv",
        x,
        "a",
        (4, 4, 3, 3),
        S8,
        per_channel=True,
        relu=True,
        kernel_shape=[3, 3],
        pads=[1, 1, 1, 1],
    )
    b = graph.op("Add", [x, a], "b", S8)
    pads = [
        graph.constant("pads", np.array([0, 0, 1, 1, 0, 0, 1, 1])),
        graph.constant("zero", np.array(0, np.float32)),
    ]
    graph.node("Pad", [b, *pads], "p")
    pooled = graph.op(
        "AveragePool", [graph.quantize("p", S8)], "d", S8, kernel_shape=[2, 2], strides=[2, 2]
    )
    mean = graph.op("ReduceMean", [pooled], "e", S8, axes=[2, 3], keepdims=0)
    graph.weighted("Gemm", mean, "y", (5, 4), S8, transB=1)
    proto = graph.proto("y_dequantized", opset=FIRST)
    proto.ir_version = 8
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return proto


@pytest.mark.parametrize("opset", range(FIRST + 1, LAST + 1))
def test_every_operator_set_gives_the_same_file(opset: int) -> None:
    converted = version_converter.convert_version(model(), opset)
    assert converted.opset_import[0].version == opset
    expected = exporter.export(ir.from_proto(model()), ExportOptions())
    found = exporter.export(ir.from_proto(converted), ExportOptions())
    assert found.parity.different == ()
    assert found.content == expected.content


@pytest.mark.parametrize("opset", [9, LAST + 1])
def test_other_operator_sets_are_told(opset: int) -> None:
    proto = model()
    proto.opset_import[0].version = opset
    with pytest.raises(ArtefactError, match=f"ONNX opset {opset}"):
        exporter.export(ir.from_proto(proto), ExportOptions())


@pytest.mark.parametrize(
    ("opset", "dtype"), [(21, "INT4"), (25, "INT4"), (25, "INT2"), (25, "UINT2")]
)
def test_narrow_weights_are_read_and_stored_as_int8_or_int4(opset: int, dtype: str) -> None:
    low, high, zero = {"INT4": (-8, 7, 0), "INT2": (-2, 1, 0), "UINT2": (0, 3, 1)}[dtype]
    graph = Graph()
    x = graph.input("x", ["N", 4, 5, 5], S8)
    weights = (
        np.random.default_rng(0)
        .integers(low, high + 1, (6, 4, 1, 1))
        .astype("uint8" if low == 0 else "int8")
    )
    graph.op("Conv", [x, graph.stored("w", weights, 0.01, zero=zero)], "y", S8, kernel_shape=[1, 1])
    narrow = graph.model(graph.nodes[-1].output[0], opset=opset)
    for name in ("w_quantized", "w_zero_point"):
        value = narrow.graph.initializers[name]
        assert value.const_value is not None
        value.const_value = ir.tensor(
            value.const_value.numpy(), dtype=ir.DataType[dtype], name=name
        )
        value.dtype = ir.DataType[dtype]
    stored = read_qdq(narrow).ops[0].inputs[1]
    assert isinstance(stored, QdqConstant)
    np.testing.assert_array_equal(stored.values, weights)
    for options in (ExportOptions(), ExportOptions(weight_storage="int4")):
        exported = exporter.export(narrow, options)
        assert (exported.parity.different, exported.parity.weights) == ((), 24)
