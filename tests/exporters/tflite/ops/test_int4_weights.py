"""int4 weights in TFLite files.

Two a byte, read back by the parity report, the same answers as from int8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from tests.support.models.qdq_models import (
    S8,
    S16,
    Graph,
    Grid,
    interpreter,
    operators,
    tflite_outputs,
)

from edgeq.errors import TargetError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.exporters.tflite.file import versions
from edgeq.exporters.tflite.file.builder import two_a_byte
from edgeq.formats.tflite_schema import schema
from edgeq.targets import tflite

if TYPE_CHECKING:
    from pathlib import Path

INT4 = ExportOptions(weight_storage="int4")
KERNEL_SETS = ("reference", "builtin")  # XNNPACK has no int4 convolution, see below


def convolution(
    shape: tuple[int, ...] = (16, 8, 3, 3), *, source: Grid = S8, least: int = -8, **options: Any
) -> Graph:
    graph = Graph()
    x = graph.input("x", ["N", 8, 9, 9], source)
    window: dict[str, Any] = {"kernel_shape": list(shape[2:]), "pads": [shape[2] // 2] * 4}
    graph.weighted("Conv", x, "y", shape, source, levels=7, **window, **options)
    return with_weight(graph, least)


def dense(shape: tuple[int, int] = (10, 24), **options: Any) -> Graph:
    graph = Graph()
    x = graph.input("x", ["N", shape[1]], S8)
    graph.weighted("Gemm", x, "y", shape, S8, levels=7, transB=1, **options)
    return with_weight(graph, -8)


def with_weight(graph: Graph, least: int) -> Graph:
    """The graph with one weight changed."""
    stored = next(tensor for tensor in graph.constants if tensor.name == "y.weight_quantized")
    values = onnx.numpy_helper.to_array(stored).copy()
    values.flat[3] = least
    stored.CopyFrom(onnx.numpy_helper.from_array(values, stored.name))
    return graph


CASES = {
    "plain": convolution(),
    "per channel": convolution(per_channel=True),
    "an odd number of weights": dense((7, 25)),
    "grouped": convolution((6, 4, 3, 3), group=2, per_channel=True),
    "depthwise": convolution((8, 1, 3, 3), group=8, per_channel=True),
    "depthwise, two a channel": convolution((16, 1, 3, 3), group=8),
    "dense": dense(per_channel=True),
    "dense, odd": dense((7, 23)),
}


def weights_of(content: bytes) -> tuple[int, int]:
    """The type of the weights and the bytes that they take."""
    model = schema.ModelT.InitFromPackedBuf(content)
    tensor = next(t for t in model.subgraphs[0].tensors if t.name == b"y.weight")
    return tensor.type, len(model.buffers[tensor.buffer].data)


@pytest.mark.parametrize("case", CASES)
def test_weights_take_half_a_byte_each_and_come_back(case: str) -> None:
    plain, packed = (
        exporter.export(CASES[case].output(), ExportOptions()),
        exporter.export(CASES[case].output(), INT4),
    )
    assert packed.parity.different == ()
    assert packed.parity == plain.parity
    assert weights_of(plain.content) == (schema.TensorType.INT8, plain.parity.weights)
    assert weights_of(packed.content) == (schema.TensorType.INT4, -(-plain.parity.weights // 2))


@pytest.mark.parametrize("kernels", KERNEL_SETS)
@pytest.mark.parametrize("case", CASES)
def test_answers_are_those_of_the_int8_file_bit_for_bit(
    case: str, kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # its kernel reads int4, but is registered up to version 6
    if kernels == "reference" and case.startswith("depthwise"):
        monkeypatch.setattr(
            versions,
            "_WITH_INT4_WEIGHTS",
            {**versions._WITH_INT4_WEIGHTS, schema.BuiltinOperator.DEPTHWISE_CONV_2D: 6},
        )
    plain, packed = (
        exporter.export(CASES[case].output(), options).content
        for options in (ExportOptions(), INT4)
    )
    shape = interpreter(plain, kernels).get_input_details()[0]["shape"]
    feeds = [np.random.default_rng(1).integers(-128, 128, (8, *shape[1:])).astype(np.int8)]
    np.testing.assert_array_equal(
        tflite_outputs(plain, feeds, kernels)[0], tflite_outputs(packed, feeds, kernels)[0]
    )


def test_the_reference_kernel_set_does_not_register_int4_depthwise(tmp_path: Path) -> None:
    """If this fails, the exception above can go."""
    file = tmp_path / "depthwise.tflite"
    file.write_bytes(exporter.export(CASES["depthwise"].output(), INT4).content)
    told = r"holds DEPTHWISE_CONV_2D of version 7, .* have none\s+hint: .* -t tflite-builtin"
    with pytest.raises(TargetError, match=told):
        tflite.reference.open(file)
    with tflite.builtin.open(file) as session:
        assert session.outputs


@pytest.mark.parametrize("case", ["plain", "depthwise"])
def test_xnnpack_leaves_int4_convolutions_to_the_built_in_kernels(case: str) -> None:
    """So that a file with int4 weights is smaller, and slower there.

    If this fails, the documentation is to be changed.
    """
    content = exporter.export(CASES[case].output(), INT4).content
    assert "DELEGATE" not in [
        detail["op_name"] for detail in interpreter(content, "xnnpack")._get_ops_details()
    ]
    feeds = [np.random.default_rng(1).integers(-128, 128, (4, 9, 9, 8)).astype(np.int8)]
    np.testing.assert_array_equal(
        tflite_outputs(content, feeds, "xnnpack")[0], tflite_outputs(content, feeds, "builtin")[0]
    )


def test_a_tensor_with_one_weight_too_wide_stays_int8() -> None:
    graph = convolution(least=-9)
    assert (
        exporter.export(graph.output(), INT4).content
        == exporter.export(graph.output(), ExportOptions()).content
    )


def test_weights_that_meet_16_bit_activations_stay_int8() -> None:
    exported = exporter.export(convolution(source=S16).output(), INT4)
    assert weights_of(exported.content)[0] == schema.TensorType.INT8
    assert operators(exported.content) == ["CONV_2D"]


def test_the_first_of_a_pair_is_in_the_low_half() -> None:
    np.testing.assert_array_equal(
        two_a_byte(np.array([1, -2, 7, -8, -1], np.int8)), [0xE1, 0x87, 0x0F]
    )


@pytest.mark.parametrize(
    ("case", "version", "runtime"),
    [("plain", 7, "2.11.0"), ("depthwise", 7, "2.11.0"), ("dense, odd", 10, "2.11.0")],
)
def test_the_version_is_the_first_that_reads_int4(case: str, version: int, runtime: str) -> None:
    model = schema.ModelT.InitFromPackedBuf(exporter.export(CASES[case].output(), INT4).content)
    assert [code.version for code in model.operatorCodes] == [version]
    oldest = next(entry for entry in model.metadata if entry.name == b"min_runtime_version")
    assert bytes(model.buffers[oldest.buffer].data).rstrip(b"\0").decode() == runtime
