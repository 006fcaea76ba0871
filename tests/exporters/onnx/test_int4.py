"""int4 weights in ONNX files.

The same integers in half the bytes, the same answers from ONNX Runtime.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from tests.support.models.qdq_models import S8, Graph

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.onnx import exporter
from edgeq.exporters.tflite import exporter as tflite
from edgeq.formats.dialect import Dialect
from edgeq.formats.onnx_io import parse
from edgeq.qdq.ir import QdqConstant
from edgeq.qdq.reader import read_qdq

INT4 = ExportOptions(weight_storage="int4")


def net(levels: int = 7, *, least: int = -8) -> Graph:
    """A per-channel convolution, a depthwise and a dense layer, one weight each ``least``."""
    graph = Graph()
    x = graph.input("x", ["N", 6, 5, 5], S8)
    window: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    a = graph.weighted("Conv", x, "a", (5, 6, 3, 3), S8, levels=levels, per_channel=True, **window)
    b = graph.weighted("Conv", a, "b", (5, 1, 3, 3), S8, levels=levels, group=5, **window)
    pooled = graph.op("GlobalAveragePool", [b], "pool", S8)
    graph.node("Flatten", [pooled], "flat")
    graph.scales["flat"] = graph.scales[pooled]
    graph.weighted("Gemm", "flat", "y", (7, 5), S8, levels=levels, transB=1)
    for tensor in graph.constants:
        if tensor.name.endswith("weight_quantized"):
            values = onnx.numpy_helper.to_array(tensor).copy()
            values.flat[3] = least
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return graph


def types(content: bytes) -> dict[str, int]:
    model = parse(content, "a test's file")
    return {
        name: value.const_value.dtype
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    }


def answers(content: bytes, *, optimised: bool) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(1).normal(0, 1, (16, 6, 5, 5)).astype(np.float32)
    return np.asarray(session.run(None, {"x": images})[0])


def test_weights_that_fit_become_int4_and_nothing_else_does() -> None:
    plain, packed = (
        exporter.export(net().output(), ExportOptions()),
        exporter.export(net().output(), INT4),
    )
    assert packed.parity.different == ()
    assert packed.parity.compared == plain.parity.compared
    small = {name for name, kind in types(packed.content).items() if kind == ir.DataType.INT4}
    assert {name for name in small if "zero_point" not in name} == {
        f"{name}.weight_quantized_int4" for name in "aby"
    }
    assert types(packed.content)["a.bias_quantized"] == ir.DataType.INT32
    assert not any(
        kind == ir.DataType.INT8 and "weight" in name
        for name, kind in types(packed.content).items()
    )


@pytest.mark.parametrize("least", [-9, 8])
def test_a_tensor_with_one_weight_too_wide_stays_int8(least: int) -> None:
    packed = exporter.export(net(least=least).output(), INT4)
    assert packed.content == exporter.export(net(least=least).output(), ExportOptions()).content


def test_unoptimised_answers_are_those_of_the_int8_file_bit_for_bit() -> None:
    plain, packed = (
        exporter.export(net().output(), options).content for options in (ExportOptions(), INT4)
    )
    np.testing.assert_array_equal(answers(plain, optimised=False), answers(packed, optimised=False))


def test_optimised_answers_are_within_one_step_of_the_int8_files() -> None:
    """With int4 ONNX Runtime computes in float, with int8 in integers."""
    contents = [
        exporter.export(net().output(), options).content for options in (ExportOptions(), INT4)
    ]
    one, other = (answers(content, optimised=True) / np.float32(S8.scale) for content in contents)
    assert np.abs(one - other).max() < 3  # three layers, one step each


def test_the_integers_are_read_back_and_go_on_to_tflite() -> None:
    packed = parse(exporter.export(net().output(), INT4).content, "a test's file")
    weights = [
        operand
        for op in read_qdq(packed).ops
        for operand in op.inputs[1:2]
        if isinstance(operand, QdqConstant)
    ]
    assert [constant.values.dtype for constant in weights] == [np.int8] * 3
    assert min(int(constant.values.min()) for constant in weights) == -8
    assert [constant.params.dtype for constant in weights if constant.params] == ["int4"] * 3
    for options in (ExportOptions(), INT4):
        assert tflite.export(packed, options).parity.different == ()


def test_a_foreign_tools_unsigned_4_bit_weights_are_read() -> None:
    graph = Graph()
    x = graph.input("x", ["N", 4, 5, 5], S8)
    weights = np.random.default_rng(0).integers(0, 16, (3, 4, 1, 1)).astype(np.uint8)
    graph.op("Conv", [x, graph.stored("w", weights, 0.01, zero=8)], "y", S8, kernel_shape=[1, 1])
    model = graph.output()
    for name in ("w_quantized", "w_zero_point"):
        value = model.graph.initializers[name]
        assert value.const_value is not None
        value.const_value = ir.tensor(value.const_value.numpy(), dtype=ir.DataType.UINT4, name=name)
        value.dtype = ir.DataType.UINT4
    for options in (ExportOptions(), INT4):
        exported = tflite.export(model, options)
        assert exported.parity.different == ()
        assert exported.parity.weights == 12


def test_an_opset_without_int4_is_told() -> None:
    with pytest.raises(ArtefactError, match="opset 19 has no int4"):
        exporter.export(
            net().output(), ExportOptions(weight_storage="int4", dialect=Dialect(opset=19))
        )
