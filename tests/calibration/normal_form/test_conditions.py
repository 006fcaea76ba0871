"""Conditions and choices as arithmetic: near the float model, and 1 LSB between the runtimes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.support.checks.calibrated import CHANNELS, SIZE, between, hold, images

from edgeq.calibration.quantize import quantize_onnx
from edgeq.errors import ArtefactError

node, single = helper.make_node, np.float32
ZERO = {"zero": single(0), "half": single(0.5)}
MASK = np.random.default_rng(0).random((1, CHANNELS, SIZE, SIZE)) < 0.5

CASES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    **{
        f"{name} and a choice": (
            [
                node(name, ["c", "half"], ["b"]),
                node("Mul", ["c", "c"], ["square"]),
                node("Mul", ["c", "half"], ["scaled"]),
                node("Where", ["b", "square", "scaled"], ["t"]),
            ],
            ZERO,
        )
        for name in ("Greater", "Less", "GreaterOrEqual", "LessOrEqual")
    },
    "a mask of floats": (
        [
            node("Greater", ["c", "zero"], ["b"]),
            node("Cast", ["b"], ["m"], to=TensorProto.FLOAT),
            node("Mul", ["c", "m"], ["t"]),
        ],
        ZERO,
    ),
    "not, and, or": (
        [
            node("Greater", ["c", "zero"], ["a"]),
            node("Less", ["c", "half"], ["b"]),
            node("And", ["a", "b"], ["d"]),
            node("Not", ["a"], ["n"]),
            node("Or", ["d", "n"], ["o"]),
            node("Where", ["o", "c", "zero"], ["t"]),
        ],
        ZERO,
    ),
    "a constant condition": (
        [node("Relu", ["c"], ["r"]), node("Where", ["mask", "r", "c"], ["t"])],
        {"mask": MASK},
    ),
    "a constant condition that fills": (
        [node("Where", ["mask", "c", "fill"], ["t"])],
        {"mask": MASK, "fill": single(-2)},
    ),
    "no division by zero": (
        [
            node("Relu", ["c"], ["r"]),
            node("GlobalMaxPool", ["r"], ["d"]),
            node("Equal", ["d", "zero"], ["b"]),
            node("Div", ["r", "d"], ["q"]),
            node("Where", ["b", "zero", "q"], ["t"]),
        ],
        ZERO,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_choice_is_calibrated(name: str) -> None:
    hold(between(*CASES[name])).require(25.0)


def test_a_peak_is_where_a_maximum_is_equal() -> None:
    nodes = [
        node("MaxPool", ["c"], ["p"], kernel_shape=[3, 3], pads=[1] * 4),
        node("Equal", ["p", "c"], ["b"]),
        node("Cast", ["b"], ["m"], to=TensorProto.FLOAT),
        node("Mul", ["c", "m"], ["t"]),
    ]
    made = quantize_onnx(between(nodes), [images()])
    assert "Equal" not in {each.op_type for each in made.graph}


def test_a_fill_of_infinity_that_no_softmax_reads_is_refused() -> None:
    nodes = [node("Where", ["mask", "c", "fill"], ["s"]), node("Relu", ["s"], ["t"])]
    model = between(nodes, {"mask": MASK, "fill": single(-np.inf)})
    with pytest.raises(ArtefactError, match=r"Where node 't?s?'? ?.*infinity"):
        quantize_onnx(model, [images()])
