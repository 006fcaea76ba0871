"""Pooling and means against ONNX Runtime, and which padding TFLite has no words for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.support.models.qdq_models import KERNELS, S8, U4, U8, Graph, Grid, differences, operators

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter


def pooled(
    op: str,
    source: Grid,
    grid: Grid | None = None,
    size: int = 9,
    axes: list[int] | None = None,
    **attributes: Any,
) -> Graph:
    graph = Graph()
    inputs = [graph.input("x", ["N", 6, size, size], source)]
    if axes is not None:
        inputs.append(graph.constant("axes", np.array(axes, np.int64)))
    graph.op(op, inputs, "y", grid or Grid(source.scale, source.zero, source.dtype), **attributes)
    return graph


# A 4-bit input of a file has a MAXIMUM of its own: who feeds it may not go below the range either.
TWO: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
THREE: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
CASES = {
    "average": (pooled("AveragePool", S8, **TWO), ["AVERAGE_POOL_2D"]),
    "average of 4 bits": (pooled("AveragePool", U4, **TWO), ["MAXIMUM", "AVERAGE_POOL_2D"]),
    "average, padding left out": (pooled("AveragePool", S8, **THREE), ["AVERAGE_POOL_2D"]),
    "average, padding counted": (
        pooled("AveragePool", S8, count_include_pad=1, **THREE),
        ["PAD", "AVERAGE_POOL_2D"],
    ),
    "maximum": (pooled("MaxPool", S8, **TWO), ["MAX_POOL_2D"]),
    "maximum of 4 bits": (pooled("MaxPool", U4, **TWO), ["MAXIMUM", "MAX_POOL_2D"]),
    "maximum, padded": (pooled("MaxPool", S8, **THREE), ["MAX_POOL_2D"]),
    "maximum, padded with zeros": (pooled("MaxPool", U8, size=8, **THREE), ["PAD", "MAX_POOL_2D"]),
    "maximum, padded below zero": (
        pooled("MaxPool", S8, size=8, **THREE),
        ["PADV2", "MAX_POOL_2D"],
    ),
    "maximum, rounded up": (pooled("MaxPool", S8, ceil_mode=1, **TWO), ["MAX_POOL_2D"]),
    "maximum, rounded up and padded": (
        pooled("MaxPool", S8, size=8, ceil_mode=1, **THREE),
        ["PADV2", "MAX_POOL_2D"],
    ),
    "maximum of a ReLU, rounded up": (
        pooled("MaxPool", U8, size=10, ceil_mode=1, kernel_shape=[3, 3], strides=[2, 2]),
        ["MAX_POOL_2D"],
    ),
    "average, rounded up": (pooled("AveragePool", S8, ceil_mode=1, **TWO), ["AVERAGE_POOL_2D"]),
    "mean": (pooled("GlobalAveragePool", S8), ["MEAN"]),
    "mean of 4 bits": (pooled("GlobalAveragePool", U4), ["MAXIMUM", "MEAN"]),
    "mean to a finer grid": (pooled("GlobalAveragePool", S8, Grid(0.004, 120)), ["MEAN"]),
    "mean to 4 bits": (pooled("GlobalAveragePool", U8, Grid(0.2, 0, clip=(0, 15))), ["MEAN"]),
    "mean by a window": (
        pooled("AveragePool", S8, Grid(0.004, 120), kernel_shape=[9, 9]),
        ["MEAN"],
    ),
    "mean over axes": (
        pooled("ReduceMean", S8, Grid(0.004, 120), axes=[2, 3], keepdims=0),
        ["MEAN"],
    ),
    "mean over negative axes": (pooled("ReduceMean", S8, axes=[-1, -2]), ["MEAN"]),
}


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("case", CASES)
def test_each_operator_computes_what_onnx_runtime_computes(case: str, kernels: str) -> None:
    graph, _ = CASES[case]
    difference = differences(graph, kernels)["y"]
    assert np.abs(difference).max() <= 1
    if case.startswith("maximum"):
        assert not difference.any()


@pytest.mark.parametrize("case", CASES)
def test_each_operator_is_written_number_by_number(case: str) -> None:
    graph, expected = CASES[case]
    exported = exporter.export(graph.output(), ExportOptions())
    assert exported.parity.different == ()
    assert operators(exported.content) == expected


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (
            pooled("AveragePool", S8, Grid(0.01, 128), **TWO),
            "'x' and output 'y' have different grids",
        ),
        (pooled("AveragePool", S8, size=8, **THREE), "leaves its padding out"),
        (
            pooled("AveragePool", S8, size=8, ceil_mode=1, count_include_pad=1, **THREE),
            "counts its padding, and rounds its size up",
        ),
        (pooled("MaxPool", S8, kernel_shape=[2, 2], dilations=[2, 2]), "dilated"),
    ],
)
def test_what_cannot_be_exact_is_refused(graph: Graph, message: str) -> None:
    with pytest.raises(ArtefactError, match=message):
        exporter.export(graph.output(), ExportOptions())
