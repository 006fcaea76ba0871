"""Sums, products and changes of grid against ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.support.models.qdq_models import (
    KERNELS,
    S4,
    S8,
    S16,
    U4,
    U8,
    Graph,
    Grid,
    differences,
    operators,
)

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter

SHAPE = ["N", 6, 5, 7]


def binary(op: str, grid: Grid, *, relu: bool = False, second: Grid = U8) -> Graph:
    graph = Graph()
    graph.op(
        op, [graph.input("a", SHAPE, S8), graph.input("b", SHAPE, second)], "y", grid, relu=relu
    )
    return graph


def with_constant(op: str, values: np.ndarray) -> Graph:
    graph = Graph()
    zero = 128 if values.dtype == np.uint8 else 0
    graph.op(op, [graph.input("a", SHAPE, S8), graph.stored("c", values, 0.01, zero=zero)], "y", S8)
    return graph


def requantized(source: Grid, grid: Grid, *, relu: bool = False) -> Graph:
    graph = Graph()
    x = graph.input("x", SHAPE, source)
    if relu:
        graph.op("Relu", [x], "y", grid)
    else:
        graph.node(
            "QuantizeLinear",
            [x, *_params(graph, grid)],
            "y_quantized" if grid.clip is None else "y_unclipped",
        )
        if grid.clip is not None:
            bounds = [
                graph.constant(f"bound{i}", np.array(b, grid.dtype))
                for i, b in enumerate(grid.clip)
            ]
            graph.node("Clip", ["y_unclipped", *bounds], "y_quantized")
        graph.node("DequantizeLinear", ["y_quantized", "y_scale", "y_zero_point"], "y_dequantized")
    return graph


def _params(graph: Graph, grid: Grid) -> list[str]:
    return [
        graph.constant("y_scale", np.array(grid.scale, np.float32)),
        graph.constant("y_zero_point", np.array(grid.zero, grid.dtype)),
    ]


CHANNELS = np.arange(-90, 90, 30, dtype=np.int8).reshape(6, 1, 1)
CASES = {
    "add": (binary("Add", S8), ["ADD"]),
    "add to 4 bits": (binary("Add", U4, relu=True), ["ADD"]),
    "add to signed 4 bits": (binary("Add", S4), ["ADD", "MAXIMUM"]),
    "add of 4 bits": (binary("Add", S8, second=U4), ["MAXIMUM", "ADD"]),
    "sub": (binary("Sub", S8), ["SUB"]),
    "mul": (binary("Mul", S8), ["MUL"]),
    "mul to a finer grid": (binary("Mul", Grid(0.0005, 128)), ["MUL"]),
    "add a constant": (with_constant("Add", CHANNELS), ["ADD"]),
    "add an unsigned constant": (
        with_constant("Add", (CHANNELS.astype(int) + 128).astype(np.uint8)),
        ["ADD"],
    ),
    "multiply by a constant": (with_constant("Mul", np.full((1, 6, 5, 7), 7, np.int8)), ["MUL"]),
    "requantise": (requantized(S8, Grid(0.031, 120)), ["QUANTIZE"]),
    "requantise to int8": (requantized(S8, Grid(0.031, 3, "int8")), ["QUANTIZE"]),
    "requantise to 4 bits": (requantized(U8, U4), ["QUANTIZE"]),
    "requantise what may be negative to 4 bits": (requantized(S8, U4), ["RELU"]),
    "requantise to signed 4 bits": (requantized(S8, S4), ["QUANTIZE", "MAXIMUM"]),
    "narrow on one grid": (requantized(U8, Grid(0.03, 0, clip=(0, 15))), ["QUANTIZE"]),
    "relu": (requantized(S8, Grid(0.017, 128), relu=True), ["RELU"]),
    "relu on one grid": (requantized(S8, S8, relu=True), ["RELU"]),
}


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("case", CASES)
def test_each_operator_computes_what_onnx_runtime_computes(case: str, kernels: str) -> None:
    graph, _ = CASES[case]
    assert np.abs(differences(graph, kernels)["y"]).max() <= 1


@pytest.mark.parametrize("case", CASES)
def test_each_operator_is_written_number_by_number(case: str) -> None:
    graph, expected = CASES[case]
    exported = exporter.export(graph.output(), ExportOptions())
    assert exported.parity.different == ()
    assert operators(exported.content) == expected


def test_narrowing_on_one_grid_is_exact() -> None:
    graph, _ = CASES["narrow on one grid"]
    assert not differences(graph, "reference")["y"].any()


@pytest.mark.parametrize("op", ["Add", "Sub"])
@pytest.mark.parametrize(("grid", "ratio"), [(S8, 60), (S16, 16000)], ids=["int8", "int16"])
def test_a_sum_far_beyond_its_grid_saturates(op: str, grid: Grid, ratio: float) -> None:
    graph = Graph()
    output = replace(grid, scale=grid.scale / ratio)
    graph.op(op, [graph.input("a", SHAPE, grid), graph.input("b", SHAPE, grid)], "y", output)
    for kernels in KERNELS:
        assert np.abs(differences(graph, kernels)["y"]).max() <= 1


@pytest.mark.parametrize("grid", [S8, S16], ids=["int8", "int16"])
def test_a_sum_that_no_kernel_takes_is_refused(grid: Grid) -> None:
    """The kernels of 16 bits end the process, so it is not tried here."""
    graph = Graph()
    output = replace(grid, scale=grid.scale / 20000)
    graph.op("Add", [graph.input("a", SHAPE, grid), graph.input("b", SHAPE, grid)], "y", output)
    with pytest.raises(ArtefactError, match="kernels would overflow"):
        exporter.export(graph.output(), ExportOptions())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("float", "float constant"),
        ("rank", "different numbers of dimensions"),
        ("wide", "stored in int32"),
    ],
)
def test_operands_that_tflite_cannot_take_are_refused(name: str, message: str) -> None:
    graph = Graph()
    x = graph.input("x", SHAPE, S8)
    other = {
        "float": lambda: graph.constant("c", np.arange(6, dtype=np.float32).reshape(6, 1, 1)),
        "rank": lambda: graph.input("b", [5, 7], S8),
        "wide": lambda: graph.stored("c", np.full((6, 1, 1), 1000, np.int32), 0.01),
    }[name]()
    graph.op("Add", [x, other], "y", S8)
    with pytest.raises(ArtefactError, match=message):
        exporter.export(graph.output(), ExportOptions())


def _square(zero: int, scale: float) -> Graph:
    graph = Graph()
    x = graph.input("x", ["N", 4, 6, 6], Grid(0.1875))
    graph.op("Mul", [x, x], "y", Grid(scale, zero))
    return graph


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(("zero", "scale"), [(0, 0.03125), (129, 0.0705), (128, 0.03125)])
def test_a_product_as_large_as_kernels_take_is_within_a_step(
    zero: int, scale: float, kernels: str
) -> None:
    found = differences(_square(zero, scale), kernels, samples=16, spread=200.0)["y"]
    assert np.abs(found).max() <= 1
