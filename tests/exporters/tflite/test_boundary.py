"""What a file takes and gives: int8, uint8 or float32, always the same integers inside."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.support.models.qdq_models import (
    KERNELS,
    S8,
    U4,
    Graph,
    Grid,
    interpreter,
    onnx_integers,
    operators,
    tflite_outputs,
)

from edgeq.exporter import ExportOptions, FileEnd, IoType
from edgeq.exporters.tflite import exporter
from edgeq.formats.tflite_schema import schema


def model(source: Grid = S8, *, softmax: bool = False, batch: int | str = "N") -> Graph:
    graph = Graph()
    x = graph.input("x", [batch, 6, 5, 5], source)
    graph.weighted("Conv", x, "y", (4, 6, 3, 3), S8, kernel_shape=[3, 3])
    if softmax:
        pooled = graph.op("GlobalAveragePool", ["y_dequantized"], "pool", S8)
        graph.node("Softmax", [graph.node("Flatten", [pooled], "flat")], "probabilities", axis=1)
    return graph


def outputs(
    graph: Graph, io_type: IoType, images: np.ndarray, kernels: str = "reference"
) -> np.ndarray:
    content = exporter.export(graph.output(), ExportOptions(io_type=io_type)).content
    return tflite_outputs(content, [images], kernels)[0]


@pytest.mark.parametrize("kernels", KERNELS)
def test_the_three_boundaries_show_the_same_integers(kernels: str) -> None:
    integers = np.random.default_rng(1).integers(-128, 128, (3, 5, 5, 6)).astype(np.int8)
    plain = outputs(model(), "int8", integers, kernels)
    unsigned = outputs(model(), "uint8", (integers.astype(int) + 128).astype(np.uint8), kernels)
    floats = outputs(
        model(), "float32", (integers.astype(np.float32) * np.float32(S8.scale)), kernels
    )
    np.testing.assert_array_equal(unsigned.astype(int) - 128, plain)
    np.testing.assert_array_equal(np.rint(floats / np.float32(S8.scale)), plain)


@pytest.mark.parametrize(
    ("io_type", "expected"),
    [
        ("int8", ["CONV_2D"]),
        ("uint8", ["QUANTIZE", "CONV_2D", "QUANTIZE"]),
        ("float32", ["QUANTIZE", "CONV_2D", "DEQUANTIZE"]),
    ],
)
def test_the_ends_are_all_that_differs(io_type: IoType, expected: list[str]) -> None:
    exported = exporter.export(model().output(), ExportOptions(io_type=io_type))
    assert operators(exported.content) == expected
    assert exported.parity.different == ()


@pytest.mark.parametrize("io_type", ["int8", "uint8", "float32"])
def test_an_open_batch_stays_open(io_type: IoType) -> None:
    detail = interpreter(
        exporter.export(model().output(), ExportOptions(io_type=io_type)).content, "reference"
    ).get_input_details()[0]
    assert list(detail["shape"]) == [1, 5, 5, 6]
    assert list(detail["shape_signature"]) == [-1, 5, 5, 6]


def test_a_fixed_batch_stays_fixed() -> None:
    detail = interpreter(
        exporter.export(model(batch=2).output(), ExportOptions()).content, "reference"
    ).get_input_details()[0]
    assert list(detail["shape"]) == list(detail["shape_signature"]) == [2, 5, 5, 6]


def test_boundary_tensors_carry_the_names_of_the_model() -> None:
    runtime = interpreter(
        exporter.export(model().output(), ExportOptions(io_type="float32")).content, "reference"
    )
    assert runtime.get_input_details()[0]["name"] == "x~float32"  # "x" are the integers inside
    assert runtime.get_output_details()[0]["name"] == "y_dequantized"


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("io_type", ["int8", "uint8", "float32"])
def test_a_narrow_input_cannot_be_fed_more_than_its_range(io_type: IoType, kernels: str) -> None:
    values = np.array([-40.0, -0.3, 0.0, 0.7, 1.5, 40.0], np.float32).reshape(1, 6, 1, 1)
    graph = Graph()
    graph.op("MaxPool", [graph.input("x", [1, 1, 6, 1], U4)], "y", U4, kernel_shape=[1, 1])
    content = exporter.export(graph.output(), ExportOptions(io_type=io_type)).content
    centered = np.clip(np.rint(values / np.float32(U4.scale)), -240, 15)
    fed = {
        "int8": (centered + 112).astype(np.int8),
        "uint8": (centered + 240).astype(np.uint8),
        "float32": values,
    }[io_type]
    found = tflite_outputs(content, [fed], kernels)[0].ravel()
    stored = np.array([0, 0, 0, 7, 15, 15])
    expected = {
        "int8": stored + 112,
        "uint8": stored + 240,
        "float32": stored * np.float32(U4.scale),
    }[io_type]
    np.testing.assert_array_equal(found, expected.astype(found.dtype))


@pytest.mark.parametrize("io_type", ["int8", "float32"])
def test_a_softmax_at_the_end_stays_float(io_type: IoType) -> None:
    exported = exporter.export(model(softmax=True).output(), ExportOptions(io_type=io_type))
    assert operators(exported.content)[-2:] == ["DEQUANTIZE", "SOFTMAX"]
    images = np.random.default_rng(0).normal(0, 1, (2, 5, 5, 6))
    fed = images.astype(np.float32) if io_type == "float32" else (images * 50).astype(np.int8)
    found = tflite_outputs(exported.content, [fed], "reference")[0]
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [1, 2])
def test_a_softmax_at_the_end_may_stand_over_any_axis(op: str, axis: int) -> None:
    graph = Graph()
    x = graph.input("x", [1, 6, 5, 5], S8)
    graph.weighted("Conv", x, "y", (4, 6, 3, 3), S8, kernel_shape=[3, 3])
    graph.node(op, ["y_dequantized"], "probabilities", axis=axis)
    proto = graph.proto("probabilities")
    image = graph.rng.normal(0, 1, (1, 6, 5, 5)).astype(np.float32)
    wanted = onnx_integers(proto, {"x": image}, ["x_quantized"])
    fed = (wanted["x_quantized"].astype(int) - 128).astype(np.int8).transpose(0, 2, 3, 1)
    reals = onnx_integers(graph.proto(), {"x": image}, ["probabilities"])["probabilities"]
    found = tflite_outputs(
        exporter.export(graph.output(), ExportOptions()).content, [fed], "reference"
    )[0]
    np.testing.assert_allclose(
        found.transpose(0, 3, 1, 2), reals, atol=0.02 if op == "Softmax" else 0.2
    )


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("kernels", KERNELS)
def test_an_argmax_at_the_end_is_that_of_the_integers(kernels: str, keepdims: int) -> None:
    graph = Graph()
    x = graph.op("MaxPool", [graph.input("x", [1, 6, 5, 5], S8)], "pooled", S8, kernel_shape=[1, 1])
    graph.node(
        "Cast", [graph.node("ArgMax", [x], "place", axis=1, keepdims=keepdims)], "label", to=6
    )
    image = graph.rng.normal(0, 1, (1, 6, 5, 5)).astype(np.float32)
    known = onnx_integers(graph.proto(), {"x": image}, ["x_quantized", "label"])
    fed = (known["x_quantized"].astype(int) - 128).astype(np.int8).transpose(0, 2, 3, 1)
    exported = exporter.export(graph.output(), ExportOptions())
    found = tflite_outputs(exported.content, [fed], kernels)[0]
    assert found.dtype == np.int32
    assert exported.ends[1] == FileEnd("output", "label", found.shape, tuple(range(found.ndim)))
    np.testing.assert_array_equal(found, known["label"])


def test_the_file_says_where_its_numbers_come_from() -> None:
    source = model().output()
    source.metadata_props["edgeq.scheme"] = "w4a4"
    parsed = schema.ModelT.InitFromPackedBuf(exporter.export(source, ExportOptions()).content)
    buffers = {entry.name: parsed.buffers[entry.buffer].data for entry in parsed.metadata}
    assert bytes(buffers[b"min_runtime_version"]).rstrip(b"\0") == b"1.14.0"
    content = json.loads(bytes(buffers[b"edgeq"]))
    assert content["source"] == {"edgeq.scheme": "w4a4"}
    assert content["io"] == {
        "type": "int8",
        "axes": {"x": [0, 2, 3, 1], "y_dequantized": [0, 2, 3, 1]},
        "channels_last": ["x", "y_dequantized"],
    }
