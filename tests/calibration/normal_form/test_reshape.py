"""What a tracing exporter writes for ``x.view(x.size(0), -1)`` is one Reshape again.

What mixes the batch with other sizes is refused.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper

from edgeq.calibration.quantize import fold_onnx, quantize_onnx

Build = Callable[..., ir.Model]
Run = Callable[..., dict[str, NDArray[np.float32]]]


def traced(dimension: int) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Shape", ["c"], ["shape"]),
        helper.make_node("Gather", ["shape", f"entry{dimension}"], ["size"], axis=0),
        helper.make_node("Unsqueeze", ["size", "first"], ["sizes"]),
        helper.make_node("Concat", ["sizes", "rest"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["c", "wanted"], ["y"]),
    ]


def constants(entry: int) -> dict[str, NDArray[np.generic]]:
    indices = {f"entry{entry}": np.array(entry), "first": np.array([0]), "rest": np.array([-1])}
    return {"w": np.ones((4, 3, 3, 3), np.float32), **indices}


def test_a_traced_view_keeps_any_batch(build: Build, run: Run) -> None:
    x = np.random.default_rng(0).normal(size=(5, 3, 8, 8)).astype(np.float32)
    model = build(traced(0), constants(0), ["n", 3, 8, 8])
    folded = fold_onnx(model)
    assert [node.op_type for node in folded.graph] == ["Conv", "Reshape"]
    np.testing.assert_allclose(run(folded, x)["y"], run(model, x)["y"], rtol=1e-5)
    assert run(quantize_onnx(model, [x]), x[:2])["y"].shape == (2, 4 * 36)


def test_another_dimension_is_not_taken_for_the_batch(build: Build) -> None:
    model = build(traced(1), constants(1), ["n", 3, 8, 8])
    told: list[str] = []
    made = quantize_onnx(model, [np.zeros((5, 3, 8, 8), np.float32)], tell=told.append)
    assert told[0].endswith("Reshape node 'y' makes dimension 1 of 'y' depend on the batch")
    assert list(made.graph.inputs[0].shape or ()) == [1, 3, 8, 8]
