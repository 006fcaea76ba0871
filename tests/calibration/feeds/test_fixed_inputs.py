"""Models for samples of any size, and inputs of one number: what their samples fix."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from edgeq.calibration.quantize import quantize_onnx
from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter

RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.normal(size=(4, 3, 3, 3)).astype(np.float32),
    "v": RNG.normal(size=(4, 5)).astype(np.float32),
    "none": np.zeros(0, np.float32),
    "zero": np.array([0]),
    "two": np.array([2]),
    "far": np.array([99]),
    "tokens": np.array([0, 4, -1]),
    "rate": np.array(16_000),
}


def saved(graph: GraphProto) -> ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def any_size() -> ir.Model:
    """Features of half the size, brought to the picture's, and a product for each pixel."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "two", "far"], ["picture"]),
        helper.make_node("Shape", ["a"], ["small"]),
        helper.make_node("Slice", ["small", "zero", "two"], ["maps"]),
        helper.make_node("Concat", ["maps", "picture"], ["sizes"], axis=0),
        helper.make_node(
            "Resize",
            ["a", "", "none", "sizes"],
            ["b"],
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        helper.make_node("Reshape", ["b", "tokens"], ["c"]),
        helper.make_node("Transpose", ["c"], ["d"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["d", "v"], ["y"]),
    ]
    shapes: dict[str, list[str | int | None]] = {"x": ["N", 3, "?", "?"], "y": ["N", "pixels", 5]}
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
    constants = [numpy_helper.from_array(array, name) for name, array in WEIGHTS.items()]
    return ir.from_proto(saved(helper.make_graph(nodes, "net", ends[:1], ends[1:], constants)))


def run(model: ir.Model, fed: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, fed)[0])


def test_sizes_left_open_are_those_of_the_samples() -> None:
    fed, told = RNG.normal(size=(4, 3, 8, 12)).astype(np.float32), list[str]()
    given = any_size()
    made = quantize_onnx(given, [fed], tell=told.append)
    assert told[0] == "the input 'x' leaves sizes open: they are (3, 8, 12), the samples'"
    assert list(given.graph.inputs[0].shape or ())[2:] != [8, 12]  # left as it is
    sizes = list(made.graph.inputs[0].shape or ())
    assert isinstance(sizes[0], ir.SymbolicDim)
    assert sizes[1:] == [3, 8, 12]
    wanted, found = run(given, {"x": fed}), run(made, {"x": fed})
    assert found.shape == (4, 96, 5)
    assert np.abs(wanted - found).max() < 0.05 * np.abs(wanted).max()
    exported = exporter.export(made, ExportOptions())
    assert exported.parity.different == ()
    assert exported.ends[0].shape == (1, 8, 12, 3)


def test_samples_of_another_size_are_refused_once_one_is_fixed() -> None:
    first, second = (np.zeros((2, 3, size, size), np.float32) + 0.5 for size in (8, 10))
    with pytest.raises(ArtefactError, match=r"'x' wants samples of \(3, 8, 8\)"):
        quantize_onnx(any_size(), [first, second])


def by_rate(shape: list[Any]) -> ir.Model:
    """Two layers, of which the number ``rate`` chooses one, as voice detectors have them."""
    branches = [
        helper.make_graph(
            [helper.make_node(kind, ["x", "v"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for kind, name in (("MatMul", "fast"), ("Gemm", "slow"))
    ]
    nodes = [
        helper.make_node("Equal", ["sr", "rate"], ["is_fast"]),
        helper.make_node("Squeeze" if shape else "Identity", ["is_fast"], ["chosen"]),
        helper.make_node("If", ["chosen"], ["a"], then_branch=branches[0], else_branch=branches[1]),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4]),
        helper.make_tensor_value_info("sr", TensorProto.INT64, shape),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5]),
    ]
    constants = [numpy_helper.from_array(WEIGHTS[name], name) for name in ("v", "rate")]
    return ir.from_proto(saved(helper.make_graph(nodes, "net", ends[:2], ends[2:], constants)))


def at(rates: list[int], shape: list[Any]) -> dict[str, np.ndarray]:
    x = RNG.normal(size=(len(rates), 4)).astype(np.float32)
    return {"x": x, "sr": np.array(rates, np.int64).reshape(-1, *shape)}


@pytest.mark.parametrize("shape", [[], [1]])
def test_an_input_of_one_number_is_that_of_all_samples(shape: list[Any]) -> None:
    fed, told = at([16_000] * 8, shape), list[str]()
    made = quantize_onnx(by_rate(shape), [fed], tell=told.append)
    assert told[0] == "the input 'sr' is one number: it is 16000, the samples'"
    assert [value.name for value in made.graph.inputs] == ["x"]
    wanted = np.maximum(fed["x"] @ WEIGHTS["v"], 0)
    assert np.abs(run(made, {"x": fed["x"]}) - wanted).max() < 0.05 * wanted.max()
    for batches in ([fed, at([8_000], shape)], [at([16_000, 8_000], shape)]):
        with pytest.raises(ArtefactError, match="'sr' is one number, and not the same in all"):
            quantize_onnx(by_rate(shape), batches)


def test_places_that_more_of_the_network_reads_are_refused_by_name() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "v"], ["a"]),
        helper.make_node("ArgMax", ["a"], ["place"], axis=1),
        helper.make_node("GatherElements", ["a", "place"], ["y"], axis=1),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])
        for name, size in (("x", 4), ("y", 1))
    ]
    constants = [numpy_helper.from_array(WEIGHTS["v"], "v")]
    net = ir.from_proto(saved(helper.make_graph(nodes, "net", ends[:1], ends[1:], constants)))
    with pytest.raises(ArtefactError, match="gives places that more of the network reads"):
        quantize_onnx(net, [RNG.normal(size=(4, 4)).astype(np.float32)])
