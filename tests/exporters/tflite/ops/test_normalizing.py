"""Softmax on grids finer than the one that TFLite's 8-bit kernel writes."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.models.qdq_models import KERNELS, Graph, Grid, differences, operators

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.exporters.tflite.ops.normalizing import FINEST_SOFTMAX


def softmax(
    scale: float, *, size: int = 65, zero: int = 0, step: float = 0.05, axis: int = -1
) -> Graph:
    graph = Graph()
    graph.op(
        "Softmax",
        [graph.input("x", ["N", 5, size], Grid(step, 128))],
        "y",
        Grid(scale, zero),
        axis=axis,
    )
    return graph


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("step", [0.01, 0.05, 0.4])
@pytest.mark.parametrize("scale", [1 / 300, 0.0007, FINEST_SOFTMAX])
def test_a_finer_grid_is_within_a_step(scale: float, step: float, kernels: str) -> None:
    for size in (7, 197):
        found = differences(softmax(scale, size=size, step=step, zero=30), kernels, samples=8)["y"]
        assert np.abs(found).max() <= 1


def test_a_finer_grid_goes_by_way_of_sixteen_bits() -> None:
    exported = exporter.export(softmax(1 / 1024).output(), ExportOptions())
    assert operators(exported.content) == ["SOFTMAX", "QUANTIZE"]
    assert exported.parity.different == ()


def test_the_finest_grid_is_named() -> None:
    with pytest.raises(ArtefactError, match=r"0\.00012207 at the finest"):
        exporter.export(softmax(FINEST_SOFTMAX / 2).output(), ExportOptions())
