"""Functions on any grid: ONNX Runtime's integers, but for ties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from tests.support.models.qdq_models import Graph, Grid
from tests.support.runtimes.function_ties import function_ties

from edgeq.numerics.pointwise import UNARY, evaluate

if TYPE_CHECKING:
    from pathlib import Path

GRIDS = 6
FORMS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in UNARY if name != "Swish"),  # younger than the operator set below
    ("Gelu", {"approximate": "tanh"}),
]
RARE = 1e-3  # of all integers; ties within float error are far rarer


def test_every_function_of_every_integer_is_onnx_runtimes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    compared = different = 0
    for _ in range(GRIDS):
        graph = Graph()
        source = Grid(float(np.float32(10 ** rng.uniform(-3.5, 0.3))), int(rng.integers(0, 256)))
        numbers = ((np.arange(256) - source.zero) * np.float32(source.scale)).astype(np.float32)
        x = graph.input("x", [1, 256], source)
        ends = [
            graph.op(name, [x], f"y{i}", _fitting(name, attributes, numbers, rng), **attributes)
            for i, (name, attributes) in enumerate(FORMS)
        ]
        path = tmp_path / "functions.onnx"
        onnx.save(graph.proto(*ends), path)
        found = function_ties(path, numbers[None])
        compared, different = compared + found.compared, different + found.different
    assert compared == GRIDS * len(FORMS) * 256
    assert different <= RARE * compared


def _fitting(
    name: str, attributes: dict[str, Any], numbers: np.ndarray, rng: np.random.Generator
) -> Grid:
    """A grid about as wide as the finite values of a function, or narrower."""
    values = evaluate(name, (numbers,), attributes)
    finite = values[np.isfinite(values)]
    low, high = min(finite.min(initial=0), 0), max(finite.max(initial=0), 1e-4)
    scale = float(np.float32((high - low) / 255 * rng.uniform(0.3, 1.2)))
    return Grid(scale, int(np.clip(np.rint(-low / scale), 0, 255)))


def test_an_integer_off_a_tie_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: a function that is off by a thousandth."""
    graph = Graph()
    x = graph.input("x", [1, 256], Grid(0.05, 128))
    path = tmp_path / "tanh.onnx"
    onnx.save(graph.proto(graph.op("Tanh", [x], "y", Grid(1 / 128, 128))), path)
    numbers = ((np.arange(256) - 128) * np.float32(0.05)).astype(np.float32)
    true = dict(UNARY)
    wrong = {"Tanh": lambda x, a: true["Tanh"](x * 1.001, a)}
    monkeypatch.setattr("edgeq.numerics.pointwise.UNARY", {**true, **wrong})
    with pytest.raises(AssertionError, match="y/Tanh"):
        function_ties(path, numbers[None])
