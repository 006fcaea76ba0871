"""Activations that are gone from a quantised file, or became others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeq.calibration.quantize import quantize_onnx
from edgeq.deploy.origin.differences import origin_of
from edgeq.formats.onnx_io import parse, serialize

if TYPE_CHECKING:
    from pathlib import Path

KINDS = (
    *("Abs", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu"),
    *("Selu", "Sigmoid", "Softplus", "Softsign", "Tanh"),
)
GONE = "is missing"


def float_file(kind: str) -> onnx.ModelProto:
    """Three convolutions, with an activation of a kind behind the first one."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(
            rng.normal(0, 0.3, (4, channels, 3, 3)).astype(np.float32), f"weights{i}"
        )
        for i, channels in enumerate((3, 4, 4))
    ]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "weights0"], ["a"], "first", pads=[1] * 4),
            helper.make_node(kind, ["a"], ["b"], "activation"),
            helper.make_node("Conv", ["b", "weights1"], ["c"], "second", pads=[1] * 4),
            helper.make_node("Relu", ["c"], ["d"]),
            helper.make_node("Conv", ["d", "weights2"], ["y"], "third", pads=[1] * 4),
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 6, 6])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def found(real: onnx.ModelProto, quantized: onnx.ModelProto, folder: Path) -> list[str]:
    """What the two files differ in."""
    paths = folder / "real.onnx", folder / "quantized.onnx"
    for path, model in zip(paths, (real, quantized), strict=True):
        path.write_bytes(model.SerializeToString())
    known = {name for node in quantized.graph.node for name in node.output}
    return [each.detail for each in origin_of(*paths, known).differences]


def quantized_file(real: onnx.ModelProto) -> onnx.ModelProto:
    """As ``edgeq calibrate`` makes it."""
    batch = np.random.default_rng(1).normal(size=(8, 3, 6, 6)).astype(np.float32)
    made = quantize_onnx(parse(real.SerializeToString(), "real.onnx"), [batch])
    return onnx.load_from_string(serialize(made))


def without(model: onnx.ModelProto, name: str) -> None:
    """Take an operator out of a file, in place."""
    node = next(each for each in model.graph.node if each.name == name)
    for reader in model.graph.node:
        for place, read in enumerate(reader.input):
            if read == node.output[0]:
                reader.input[place] = node.input[0]
    model.graph.node.remove(node)


def became(model: onnx.ModelProto, name: str, other: str) -> None:
    """Put an operator of another kind in the place of one, in place."""
    node = next(each for each in model.graph.node if each.name == name)
    node.op_type = other
    del node.attribute[:]


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_told(kind: str, tmp_path: Path) -> None:
    real = float_file(kind)
    made = quantized_file(real)
    assert found(real, made, tmp_path) == []
    for other in {"Relu", "Tanh", "Sigmoid"} - {kind}:
        changed = onnx.ModelProto.FromString(made.SerializeToString())
        became(changed, "activation", other)
        assert f"{kind} became {other}" in found(real, changed, tmp_path)
    without(made, "activation")
    gone = found(real, made, tmp_path)
    # without a ReLU, the grid cuts off what it would
    assert gone == [] if kind == "Relu" else f"{kind} {GONE}" in gone
