"""Operators between tensors of 8 and 16 bits: exact in 16 bits, nothing rounded on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.support.models.qdq_models import S8, S16, Graph, Grid

from edgeq.deploy.evaluation.verify import verify_arrays
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter

SHAPE = ["N", 8, 6, 6]
WIDER = Grid(2e-4, 0, "int16")
WINDOW: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}


def convolution(source: Grid, grid: Grid, *, relu: bool = False) -> Graph:
    graph = Graph()
    x = graph.input("x", SHAPE, source)
    graph.weighted("Conv", x, "y", (16, 8, 3, 3), grid, relu=relu, **WINDOW)
    return graph


CASES = {
    "narrow to wide": lambda: convolution(S8, WIDER),
    "wide to narrow": lambda: convolution(S16, S8),
    "wide to narrow with a ReLU": lambda: convolution(S16, S8, relu=True),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_within_one_step(name: str) -> None:
    model = CASES[name]().output()
    exported = exporter.export(model, ExportOptions())
    assert exported.parity.different == ()
    assert exported.in_float is None
    scale = float((S8 if name.startswith("narrow") else S16).scale)
    numbers = np.random.default_rng(0).normal(0, 60, (1, 8, 6, 6)) * scale
    verify_arrays(model, exported, [numbers.astype(np.float32)]).require()
