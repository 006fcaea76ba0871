"""Unary operators: TFLite's own where they are within a step, else a lookup table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.support.models.qdq_models import KERNELS, S8, U4, Graph, Grid, differences, operators

from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter

SHAPE = ["N", 6, 5, 7]
TABLE = ["CAST", "ADD", "GATHER"]
FINE = Grid(0.05, 120)
SIGMOID, TANH = Grid(1 / 256, 0), Grid(1 / 128, 128)


def single(op: str, grid: Grid, source: Grid = FINE, **attributes: Any) -> Graph:
    graph = Graph()
    graph.op(op, [graph.input("x", SHAPE, source)], "y", grid, **attributes)
    return graph


def swish() -> Graph:
    graph = Graph()
    x = graph.input("x", SHAPE, S8)
    graph.node("Sigmoid", [x], "gate")
    graph.op("Mul", [x, "gate"], "y", S8)
    return graph


def hard_swish() -> Graph:
    graph = Graph()
    x = graph.input("x", SHAPE, S8)
    graph.node("HardSigmoid", [x], "gate", alpha=1 / 6, beta=0.5)
    graph.op("Mul", [x, "gate"], "y", S8)
    return graph


def hard_swish_quantized() -> Graph:
    graph = Graph()
    x = graph.input("x", SHAPE, S8)
    gate = graph.op("HardSigmoid", [x], "gate", Grid(1 / 255), alpha=1 / 6, beta=0.5)
    graph.op("Mul", [x, gate], "y", S8)
    return graph


def gelu_by_erf() -> Graph:
    graph = Graph()
    x = graph.input("x", SHAPE, S8)
    root, one, half = (
        graph.constant(f"c{i}", np.float32(value)) for i, value in enumerate((np.sqrt(2), 1.0, 0.5))
    )
    graph.node("Erf", [graph.node("Div", [x, root], "scaled")], "erf")
    graph.node("Mul", [x, graph.node("Add", ["erf", one], "shifted")], "product")
    graph.op("Mul", ["product", half], "y", S8)
    return graph


def hard_swish_by_relu6() -> Graph:
    graph = Graph()
    x = graph.input("x", SHAPE, S8)
    three, six, zero = (
        graph.constant(f"c{i}", np.float32(value)) for i, value in enumerate((3.0, 6.0, 0.0))
    )
    graph.node("Clip", [graph.node("Add", [x, three], "shifted"), zero, six], "clipped")
    graph.node("Mul", [x, "clipped"], "product")
    graph.op("Div", ["product", six], "y", S8)
    return graph


def scaled() -> Graph:
    graph = Graph()
    graph.op("Mul", [graph.input("x", SHAPE, S8), graph.constant("c", np.float32(-0.7))], "y", S8)
    return graph


CASES = {
    "sigmoid": (single("Sigmoid", SIGMOID), ["LOGISTIC"]),
    "sigmoid on a grid of its own": (single("Sigmoid", Grid(1 / 200, 0)), ["LOGISTIC", "QUANTIZE"]),
    "sigmoid on a finer grid": (single("Sigmoid", Grid(1 / 1024, 0)), TABLE),
    "sigmoid of int8": (
        single("Sigmoid", Grid(1 / 256, -128, "int8"), Grid(0.05, 3, "int8")),
        ["LOGISTIC"],
    ),
    "sigmoid to 4 bits": (
        single("Sigmoid", Grid(1 / 16, 0, clip=(0, 15))),
        ["LOGISTIC", "QUANTIZE", "MAXIMUM"],
    ),
    "tanh": (single("Tanh", TANH), ["TANH"]),
    "tanh on a finer grid": (single("Tanh", Grid(1 / 512, 128)), TABLE),
    "gelu": (single("Gelu", Grid(0.02, 10)), ["GELU"]),
    "gelu by tanh": (single("Gelu", Grid(0.02, 10), approximate="tanh"), ["GELU"]),
    "hard swish": (single("HardSwish", Grid(0.02, 20)), ["HARD_SWISH"]),
    "hard swish to a very fine grid": (single("HardSwish", Grid(0.0001, 20)), TABLE),
    "leaky relu": (single("LeakyRelu", Grid(0.03, 20), alpha=0.1), ["LEAKY_RELU"]),
    "hard sigmoid": (single("HardSigmoid", SIGMOID, alpha=0.3, beta=0.4), TABLE),
    "elu": (single("Elu", Grid(0.02, 50), alpha=0.7), TABLE),
    "selu": (single("Selu", Grid(0.04, 50)), TABLE),
    "celu": (single("Celu", Grid(0.04, 50), alpha=0.7), TABLE),
    "softplus": (single("Softplus", Grid(0.03)), TABLE),
    "softsign": (single("Softsign", TANH), TABLE),
    "mish": (single("Mish", Grid(0.03, 20)), TABLE),
    "exp": (single("Exp", Grid(0.1)), TABLE),
    "sqrt": (single("Sqrt", Grid(0.02), Grid(0.05)), TABLE),
    "absolute": (single("Abs", Grid(0.03)), TABLE),
    "negative": (single("Neg", S8), TABLE),
    "reciprocal": (single("Reciprocal", S8, Grid(0.05, 0)), TABLE),
    "thresholded relu": (single("ThresholdedRelu", Grid(0.03), alpha=0.4), TABLE),
    "of 4 bits": (single("Elu", Grid(0.02, 50), U4), ["MAXIMUM", *TABLE]),
    "to 4 bits": (single("Elu", U4), TABLE),
    "swish without a quantiser between": (swish(), TABLE),
    "hard swish without a quantiser between": (hard_swish(), TABLE),
    "hard swish by a clip": (hard_swish_by_relu6(), TABLE),
    "gelu by erf": (gelu_by_erf(), TABLE),
    "times a bare number": (scaled(), TABLE),
}


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("case", CASES)
def test_each_function_is_within_a_step_of_onnx_runtime(case: str, kernels: str) -> None:
    graph, expected = CASES[case]
    difference = np.abs(differences(graph, kernels)["y"])
    assert difference.max() <= 1
    if expected[-3:] == TABLE:
        # exact, but for ties that float32 decides
        assert np.count_nonzero(difference) <= 0.01 * difference.size


@pytest.mark.parametrize("case", CASES)
def test_each_function_is_written_number_by_number(case: str) -> None:
    graph, expected = CASES[case]
    exported = exporter.export(graph.output(), ExportOptions())
    assert exported.parity.different == ()
    assert operators(exported.content) == expected


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_gate_and_its_product_are_two_operators_where_both_are_quantised(kernels: str) -> None:
    graph = hard_swish_quantized()
    assert all(np.abs(difference).max() <= 1 for difference in differences(graph, kernels).values())
    assert operators(exporter.export(graph.output(), ExportOptions()).content) == [*TABLE, "MUL"]


def test_a_changed_table_is_found() -> None:
    from edgeq.exporters.parity import compare
    from edgeq.exporters.tflite.parity import expected_in, stored_numbers
    from edgeq.exporters.tflite.storage import choose_storage
    from edgeq.qdq.reader import read_qdq

    model = CASES["elu"][0].output()
    graph, found = read_qdq(model), stored_numbers(exporter.export(model, ExportOptions()).content)
    centered = found["y/table"].centered
    assert centered is not None
    centered[17] += 1
    assert len(compare(expected_in(graph, choose_storage(graph), found), found).different) == 1
