"""The shift into int8.

The top of the range on 127, one shift for tensors that are moved, no range widened.
"""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.models.qdq_models import (
    KERNELS,
    S8,
    U4,
    Graph,
    Grid,
    onnx_integers,
    operators,
    tflite_outputs,
)

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.exporters.tflite.storage import Storage, choose_storage
from edgeq.qdq.reader import read_qdq

SHAPE = ["N", 2, 4, 4]


@pytest.mark.parametrize(
    ("grid", "storage"),
    [
        (Grid(0.1, 0), Storage(-128, -128, -128, 127)),
        (Grid(0.1, 128), Storage(-128, 0, -128, 127)),
        (Grid(0.1, -7, "int8"), Storage(0, -7, -128, 127)),
        (Grid(0.1, 0, clip=(0, 15)), Storage(112, 112, 112, 127)),
        (Grid(0.1, -128, "int8", (-128, -113)), Storage(240, 112, 112, 127)),
        (Grid(0.1, 0, "int8", (-8, 7)), Storage(120, 120, 112, 127)),
        (Grid(0.1, 0, "int8", (-127, 127)), Storage(0, 0, -127, 127)),
        (Grid(0.1, 200, clip=(0, 100)), Storage(-73, 127, -73, 27)),
        (Grid(0.1, 0, "int16"), Storage(0, 0, -(2**15), 2**15 - 1, "int16")),
        (Grid(0.1, 2**15, "uint16"), Storage(-(2**15), 0, -(2**15), 2**15 - 1, "int16")),
        (Grid(0.1, 0, "int16", (-2048, 2047)), Storage(0, 0, -2048, 2047, "int16")),
    ],
)
def test_the_greatest_integer_in_use_becomes_127(grid: Grid, storage: Storage) -> None:
    graph = Graph()
    graph.node("Identity", [graph.input("x", SHAPE, grid)], "y")
    assert choose_storage(read_qdq(graph.output()))["x"] == storage


def test_tensors_that_are_only_moved_share_a_shift() -> None:
    graph = Graph()
    narrow = graph.input("a", SHAPE, Grid(0.1, 0, clip=(0, 15)))
    wide = graph.input("b", SHAPE, Grid(0.1, 0))
    graph.op("Concat", [narrow, wide], "y", Grid(0.1, 0), axis=1)
    storages = choose_storage(read_qdq(graph.output()))
    assert {storage.shift for storage in storages.values()} == {-128}
    assert (storages["a"].low, storages["a"].high) == (-128, -113)
    assert operators(exporter.export(graph.output(), ExportOptions()).content) == [
        "MINIMUM",
        "CONCATENATION",
    ]


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("relu", [True, False])
def test_four_bit_activations_saturate_at_15_and_at_0(kernels: str, relu: bool) -> None:
    graph = Graph()
    x = graph.input("x", SHAPE, S8)
    graph.op(
        "Conv",
        [x, graph.stored("w", np.full((3, 2, 1, 1), 100, np.int8), 0.05)],
        "y",
        U4,
        relu=relu,
        kernel_shape=[1, 1],
    )
    values = np.random.default_rng(0).normal(0, 2, (4, 2, 4, 4)).astype(np.float32)
    integers = onnx_integers(
        graph.proto("y_dequantized"), {"x": values}, ["x_quantized", "y_quantized"]
    )
    fed = (integers["x_quantized"].astype(np.int32) - 128).astype(np.int8).transpose(0, 2, 3, 1)
    found = tflite_outputs(
        exporter.export(graph.output(), ExportOptions()).content, [fed], kernels
    )[0]
    centered = found.astype(int) - 112
    assert (centered.min(), centered.max()) == (0, 15)
    assert (centered == 15).mean() > 0.3
    np.testing.assert_array_equal(centered.transpose(0, 3, 1, 2), integers["y_quantized"])


@pytest.mark.parametrize(
    "grid",
    [Grid(0.001, 0, "uint16"), Grid(0.001, 5, "int16"), Grid(0.001, 2**15 - 1, "uint16")],
    ids=lambda grid: f"{grid.dtype}, {grid.zero}",
)
def test_sixteen_bits_around_another_number_than_zero_are_refused(grid: Grid) -> None:
    graph = Graph()
    graph.op("MaxPool", [graph.input("x", SHAPE, grid)], "y", grid, kernel_shape=[1, 1])
    with pytest.raises(
        ArtefactError, match=f"zero point {grid.zero}, and TFLite's int16 has none but 0"
    ):
        exporter.export(graph.output(), ExportOptions())


def test_activations_with_a_scale_a_channel_are_refused() -> None:
    graph = Graph()
    graph.input("x", SHAPE, S8)
    grid = [
        graph.constant("s", np.full(2, 0.1, np.float32)),
        graph.constant("z", np.zeros(2, np.uint8)),
    ]
    graph.node("QuantizeLinear", ["x_dequantized", *grid], "y_quantized", axis=1)
    graph.node("DequantizeLinear", ["y_quantized", *grid], "y", axis=1)
    with pytest.raises(ArtefactError, match="a scale for each channel"):
        exporter.export(graph.output(), ExportOptions())
