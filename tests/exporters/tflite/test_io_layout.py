"""NCHW at a file's boundary.

One TRANSPOSE of integers at each end, counted, and the same answers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from tests.support.models.qdq_models import (
    KERNELS,
    S8,
    Graph,
    Grid,
    interpreter,
    operators,
    tflite_outputs,
)

from edgeq.exporter import ExportOptions, IoType, Transposes
from edgeq.exporters.tflite import exporter
from edgeq.formats.tflite_schema import schema
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

NCHW = ExportOptions(io_layout="nchw")


def network(*, channels: int = 6, flat: bool = False) -> Graph:
    """Two convolutions and a residual Add that reads the input too."""
    graph = Graph()
    x = graph.input("x", ["N", channels, 5, 7], S8)
    a = graph.weighted(
        "Conv", x, "a", (6, channels, 3, 3), S8, kernel_shape=[3, 3], pads=[1, 1, 1, 1]
    )
    if channels == 6:
        a = graph.op("Add", [x, a], "b", S8)
    if flat:
        pooled = graph.op("GlobalAveragePool", [a], "pool", S8)
        graph.node("Flatten", [pooled], "flat")
    return graph


@pytest.mark.parametrize("io_type", ["int8", "uint8", "float32"])
@pytest.mark.parametrize("kernels", KERNELS)
def test_answers_are_those_of_the_nhwc_file_transposed(kernels: str, io_type: IoType) -> None:
    plain, turned = (
        exporter.export(network().output(), ExportOptions(io_type=io_type, io_layout=layout))
        for layout in ("nhwc", "nchw")
    )
    integers = np.random.default_rng(0).integers(0, 100, (3, 6, 5, 7))
    images = (
        integers.astype(io_type)
        if io_type != "float32"
        else (integers * S8.scale).astype(np.float32)
    )
    (expected,) = tflite_outputs(
        plain.content, [np.ascontiguousarray(images.transpose(0, 2, 3, 1))], kernels
    )
    (found,) = tflite_outputs(turned.content, [images], kernels)
    np.testing.assert_array_equal(found, expected.transpose(0, 3, 1, 2))
    assert turned.parity.different == ()


@pytest.mark.parametrize("io_type", ["int8", "float32"])
def test_integers_are_transposed_once_at_each_end_and_counted(io_type: IoType) -> None:
    exported = exporter.export(network().output(), ExportOptions(io_type=io_type, io_layout="nchw"))
    assert operators(exported.content).count("TRANSPOSE") == 2
    assert exported.transposes == Transposes(2, 2 * 6 * 5 * 7)


def test_a_convolutional_network_has_none_inside_in_either_layout() -> None:
    assert exporter.export(network(flat=True).output(), ExportOptions()).transposes == Transposes(
        0, 0
    )
    assert exporter.export(network(flat=True).output(), NCHW).transposes == Transposes(1, 6 * 5 * 7)


def test_16_bits_count_twice() -> None:
    graph = Graph()
    grid = Grid(1e-4, 0, "int16")
    x = graph.input("x", ["N", 6, 5, 7], grid)
    graph.weighted("Conv", x, "y", (4, 6, 3, 3), grid, kernel_shape=[3, 3])
    assert exporter.export(graph.output(), NCHW).transposes == Transposes(
        2, 2 * (6 * 5 * 7 + 4 * 3 * 5)
    )


def test_a_single_channel_needs_no_transpose() -> None:
    exported = exporter.export(network(channels=1, flat=True).output(), NCHW)
    assert exported.transposes == Transposes(0, 0)
    assert list(interpreter(exported.content, "reference").get_input_details()[0]["shape"]) == [
        1,
        1,
        5,
        7,
    ]


def test_a_graph_that_takes_nhwc_itself_stays_as_it_is() -> None:
    graph = Graph()
    x = graph.input("x", ["N", 5, 7, 6], S8)
    graph.scales["turned"] = graph.scales[x]
    graph.node("Transpose", [x], "turned", perm=[0, 3, 1, 2])
    graph.weighted("Conv", "turned", "y", (4, 6, 3, 3), S8, kernel_shape=[3, 3])
    exported = exporter.export(graph.output(), NCHW)
    assert list(interpreter(exported.content, "reference").get_input_details()[0]["shape"]) == [
        1,
        5,
        7,
        6,
    ]
    assert exported.transposes == Transposes(1, 4 * 3 * 5)  # of the output only


def test_the_file_says_where_its_axes_are() -> None:
    model = schema.ModelT.InitFromPackedBuf(exporter.export(network().output(), NCHW).content)
    entry = next(entry for entry in model.metadata if entry.name == b"edgeq")
    notes = json.loads(bytes(model.buffers[entry.buffer].data))
    assert notes["io"]["axes"] == {"x": [0, 1, 2, 3], "b_dequantized": [0, 1, 2, 3]}
    assert notes["axes"]["x"] == [0, 1, 2, 3]


@pytest.mark.parametrize("target", ["tflite", "tflite-builtin", "tflite-ref"])
def test_targets_feed_and_show_both_files_alike(target: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(0, 1, (3, 6, 5, 7)).astype(np.float32)
    answers, shown = [], []
    for options in (ExportOptions(), NCHW):
        path = tmp_path / f"{options.io_layout}.tflite"
        path.write_bytes(exporter.export(network(flat=True).output(), options).content)
        opened = TARGETS.load(target)
        with opened.open(path, intermediates=opened.capabilities.intermediates) as session:
            answers.append(session.run(images))
            shown.append(session.tensors(images) if opened.capabilities.intermediates else {})
    np.testing.assert_array_equal(answers[0], answers[1])
    assert not shown[0] or {"x", "a", "b"} <= set(shown[0])
    for name, tensor in shown[0].items():
        np.testing.assert_array_equal(tensor.centered(), shown[1][name].centered())  # type: ignore[union-attr]


def test_float_networks_have_the_same_choice() -> None:
    graph = Graph()
    graph.inputs.append(
        onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, 5, 7])
    )
    weights = graph.constant(
        "w", np.random.default_rng(0).normal(0, 1, (4, 3, 3, 3)).astype(np.float32)
    )
    graph.node("Conv", ["x", weights], "y", kernel_shape=[3, 3])
    plain, turned = (
        exporter.export(graph.output(), ExportOptions()),
        exporter.export(graph.output(), NCHW),
    )
    assert (plain.transposes, turned.transposes) == (
        Transposes(0, 0),
        Transposes(2, 4 * (3 * 5 * 7 + 4 * 3 * 5)),
    )
    images = np.random.default_rng(1).normal(0, 1, (2, 3, 5, 7)).astype(np.float32)
    (expected,) = tflite_outputs(
        plain.content, [np.ascontiguousarray(images.transpose(0, 2, 3, 1))], "reference"
    )
    (found,) = tflite_outputs(turned.content, [images], "reference")
    np.testing.assert_array_equal(found, expected.transpose(0, 3, 1, 2))
