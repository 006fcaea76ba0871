"""Operators between tensors of 8 and 16 bits: exact in 16 bits, nothing rounded on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.support.models.qdq_models import (
    KERNELS,
    S8,
    S16,
    Graph,
    Grid,
    onnx_integers,
    operators,
    tflite_outputs,
)

from edgeq.deploy.evaluation.verify import verify_arrays
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter

SAMPLE = (8, 6, 6)
SHAPE = ["N", *SAMPLE]
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


@pytest.mark.parametrize("zero", [10, 200])
@pytest.mark.parametrize("finer", [150, 8000])
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
def test_what_8_bit_kernels_would_wrap_around_is_computed_in_16(
    op: str, finer: int, zero: int
) -> None:
    """Kernels of 8 bits for x86 would be 255 LSB off, without a word."""
    graph = Graph()
    step = S8.scale if op != "Mul" else S8.scale * S8.scale * 64
    grid = Grid(step / finer, zero)
    graph.op(op, [graph.input("a", SHAPE, S8), graph.input("b", SHAPE, S8)], "y", grid)
    shape = (1, *SAMPLE)
    sizes = graph.rng.choice([0.02, 1, 40], shape)  # results in the middle and far beyond the ends
    fed = {name: (graph.rng.normal(0, S8.scale, shape) * sizes).astype(np.float32) for name in "ab"}
    integers = onnx_integers(graph.proto("y_dequantized"), fed, [f"{n}_quantized" for n in "aby"])
    a, b, wanted = (integers[f"{n}_quantized"].astype(int).transpose(0, 2, 3, 1) for n in "aby")
    exported = exporter.export(graph.output(), ExportOptions())
    assert exported.parity.different == ()
    assert operators(exported.content) == ["QUANTIZE", "QUANTIZE", op.upper(), "QUANTIZE"]
    feeds = [(each - 128).astype(np.int8) for each in (a, b)]
    for kernels in KERNELS:
        (found,) = tflite_outputs(exported.content, feeds, kernels)
        assert np.abs(found.astype(int) + 128 - wanted).max() <= 1
