"""Gemm and MatMul against ONNX Runtime, and what must be refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.support.models.qdq_models import KERNELS, S8, U4, Graph, Grid, differences, operators

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter


def dense(op: str, *, transposed: bool, per_channel: bool, grid: Grid = S8, rank: int = 2) -> Graph:
    graph = Graph()
    x = graph.input("x", ["N", *[5] * (rank - 2), 24], S8)
    shape = (10, 24) if transposed else (24, 10)
    attributes: dict[str, Any] = {"transB": int(transposed)} if op == "Gemm" else {}
    axis = 0 if transposed else 1
    graph.weighted(
        op,
        x,
        "y",
        shape,
        grid,
        channel_axis=axis,
        per_channel=per_channel,
        bias=op == "Gemm",
        **attributes,
    )
    return graph


CASES = {
    "rows": dense("Gemm", transposed=True, per_channel=False),
    "rows per channel": dense("Gemm", transposed=True, per_channel=True),
    "columns": dense("Gemm", transposed=False, per_channel=False),
    "columns per channel": dense("Gemm", transposed=False, per_channel=True),
    "4 bits": dense("Gemm", transposed=True, per_channel=True, grid=U4),
    "matmul": dense("MatMul", transposed=False, per_channel=False),
    "matmul over more dimensions": dense("MatMul", transposed=False, per_channel=True, rank=3),
}


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("case", CASES)
def test_each_variant_computes_what_onnx_runtime_computes(case: str, kernels: str) -> None:
    difference = differences(CASES[case], kernels, samples=32)["y"]
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 0.02


@pytest.mark.parametrize("case", CASES)
def test_each_variant_is_one_operator_written_number_by_number(case: str) -> None:
    exported = exporter.export(CASES[case].output(), ExportOptions())
    assert exported.parity.different == ()
    assert exported.parity.weights == 240
    assert operators(exported.content) == ["FULLY_CONNECTED"]


@pytest.mark.parametrize("attributes", [{"alpha": 2.0}, {"beta": 0.5}, {"transA": 1}])
def test_scaled_or_transposed_operands_are_refused(attributes: dict[str, Any]) -> None:
    graph = Graph()
    x = graph.input("x", [10, 10], S8)
    graph.weighted("Gemm", x, "y", (10, 10), S8, **attributes)
    with pytest.raises(ArtefactError, match="scales or transposes"):
        exporter.export(graph.output(), ExportOptions())


def test_a_gemm_of_two_activations_is_refused() -> None:
    graph = Graph()
    graph.op("Gemm", [graph.input("a", [1, 4], S8), graph.input("b", [4, 4], S8)], "y", S8)
    with pytest.raises(ArtefactError, match="no constant matrix"):
        exporter.export(graph.output(), ExportOptions())
