"""One layer in integers, all others in float, as a search looks at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import helper

from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.search.network import SearchNetwork
from edgeq.calibration.search.precision import EIGHT, FLOAT
from edgeq.qdq.ir import QdqConstant
from edgeq.qdq.reader import read_qdq

if TYPE_CHECKING:
    from tests.calibration.conftest import Build

node = helper.make_node


@pytest.mark.parametrize("scaling", ["Mul", "Div"])
def test_scores_in_float_that_are_scaled(scaling: str, build: Build) -> None:
    """The scaling becomes a layer that no network has learnt, and reads no integers here."""
    rng = np.random.default_rng(0)
    model = build(
        [
            node("MatMul", ["x", "w"], ["q"], name="q"),
            node("Transpose", ["q"], ["k"], perm=[0, 2, 1]),
            node("MatMul", ["q", "k"], ["scores"]),
            node(scaling, ["scores", "size"], ["scaled"]),
            node("MatMul", ["scaled", "v"], ["y"], name="y"),
        ],
        {
            "w": rng.normal(size=(6, 8)).astype(np.float32),
            "v": rng.normal(size=(12, 4)).astype(np.float32),
            "size": np.float32(3),
        },
        [1, 12, 6],
    )
    samples = rng.normal(size=(1, 12, 6)).astype(np.float32)
    made = SearchNetwork(model, lambda: [samples], CalibrationConfig())
    layers = [size.name for size in made.layers]
    assert layers == ["q", "y"]
    for layer in layers:
        precisions = dict.fromkeys(layers, FLOAT) | {layer: EIGHT}
        graph = read_qdq(made.quantized(precisions, alone=True), float_fallback=True)
        stored = [each for op in graph.ops for each in op.inputs if isinstance(each, QdqConstant)]
        assert [each.values.dtype for each in stored].count(np.dtype(np.int8)) == 1
