"""TFLite's unary elementwise functions in the emulator.

Each of the 256 integers, on random grids, against the reference kernels.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # hypothesis reads the types of what it is given
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.models.qdq_models import Graph, Grid
from tests.support.runtimes.emulation import differing

from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.formats.tflite_file import operators_of
from edgeq.targets.emulator import emulator
from edgeq.targets.emulator.tflite.fixed_point import (
    exp_of_negative,
    leading_zeros,
    logistic,
    one_over_one_plus,
    tanh,
)
from edgeq.targets.tflite import builtin, reference

OWN = {
    "Sigmoid": "LOGISTIC",
    "Tanh": "TANH",
    "Gelu": "GELU",
    "HardSwish": "HARD_SWISH",
    "LeakyRelu": "LEAKY_RELU",
}
GEMMLOWP = 3e-7  # how far its functions are from the real ones
FIXED = {"Sigmoid": Grid(1 / 256, 0), "Tanh": Grid(1 / 128, 128)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("functions")


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, Grid, Grid, dict[str, Any]]:
    op, scale = draw(st.sampled_from(sorted(OWN))), draw(st.floats(0.002, 0.3))
    source = Grid(scale, draw(st.integers(0, 255)))
    output = FIXED.get(op) or Grid(scale * draw(st.floats(0.5, 2)), draw(st.integers(0, 255)))
    options: dict[str, Any] = {"alpha": draw(st.floats(0.01, 1.2))} if op == "LeakyRelu" else {}
    if op == "Gelu" and draw(st.booleans()):
        options["approximate"] = "tanh"
    return op, source, output, options


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases())
def test_every_integer_comes_out_as_the_kernel_gives_it(
    case: tuple[str, Grid, Grid, dict[str, Any]], folder: Path
) -> None:
    op, source, output, options = case
    graph = Graph()
    graph.op(op, [graph.input("x", ["N", 256], source)], "y", output, **options)
    content = exporter.export(graph.output(), ExportOptions()).content
    assert isinstance(content, bytes)
    assert OWN[op] in [operator.name for operator in operators_of(content)], (
        "the operator itself is to be tested, not a table"
    )
    path = folder / "function.tflite"
    path.write_bytes(content)
    reals = (np.arange(256) - source.zero)[None] * np.float32(source.scale)
    assert differing(path, reference, emulator, reals.astype(np.float32)) == {}


@pytest.mark.parametrize("step", [1 / 256, 2.0**-13], ids=["8 bits", "16 bits"])
def test_a_softmax_near_its_ties_is_the_reference_kernels(step: float, folder: Path) -> None:
    """The optimised kernels look exponentials up in float32.

    They differ in a few of 200,000 values.
    """
    graph, scale = Graph(), 0.0233683
    graph.op(
        "Softmax",
        [graph.input("x", ["N", 500, 9], Grid(scale, 0, "int8"))],
        "y",
        Grid(step),
        axis=2,
    )
    path = folder / "softmax.tflite"
    path.write_bytes(exporter.export(graph.output(), ExportOptions()).content)
    reals = (np.random.default_rng(0).normal(0, 60, (50, 500, 9)) * scale).astype(np.float32)
    with (
        builtin.open(path, intermediates=True) as other,
        reference.open(path, intermediates=True) as real,
    ):
        assert (other.run(reals) != real.run(reals)).any(), "shows nothing"
    assert differing(path, reference, emulator, reals) == {}


class TestFixedPoint:
    """gemmlowp's functions against the real ones.

    That they are gemmlowp's to the last bit is proved by the kernels above.
    """

    inputs = np.arange(-(2**31), 2**31, 2**17 + 1, dtype=np.int64)

    def real(self, integer_bits: int) -> np.ndarray:
        return self.inputs * 2.0 ** (integer_bits - 31)

    @pytest.mark.parametrize("bits", [0, 4, 5, 6])
    def test_the_exponential_of_negative_numbers(self, bits: int) -> None:
        below = self.inputs[self.inputs <= 0]
        np.testing.assert_allclose(
            exp_of_negative(below, bits) / 2**31, np.exp(below * 2.0 ** (bits - 31)), atol=GEMMLOWP
        )

    def test_the_logistic_function(self) -> None:
        np.testing.assert_allclose(
            logistic(self.inputs, 4) / 2**31, 1 / (1 + np.exp(-self.real(4))), atol=GEMMLOWP
        )

    def test_the_hyperbolic_tangent(self) -> None:
        np.testing.assert_allclose(
            tanh(self.inputs, 4) / 2**31, np.tanh(self.real(4)), atol=GEMMLOWP
        )

    def test_the_reciprocal(self) -> None:
        inside = self.inputs[self.inputs >= 0]
        np.testing.assert_allclose(
            one_over_one_plus(inside) / 2**31, 1 / (1 + inside / 2**31), atol=GEMMLOWP
        )

    def test_leading_zeros(self) -> None:
        numbers = np.array([1, 2, 3, 2**30, 2**31 - 1, 2**31, 2**32 - 1])
        assert leading_zeros(numbers).tolist() == [31, 30, 30, 1, 1, 0, 0]
