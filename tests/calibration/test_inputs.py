"""Models of several inputs, of other floats than float32, and what their samples have to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeq.calibration.quantize import quantize_onnx
from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter

if TYPE_CHECKING:
    from collections.abc import Sequence

RNG = np.random.default_rng(0)
STATE = (2, 1, 8)


def model(
    nodes: list[Any],
    inputs: dict[str, Sequence[Any]],
    outputs: dict[str, Sequence[Any]],
    constants: dict[str, Any],
    kind: int = TensorProto.FLOAT,
) -> ir.Model:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=8))


def with_state(batch: Any = "N") -> ir.Model:
    """``y = relu(W x + sum of the state)``, and the next state, which has no batch."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Slice", ["state", "zero", "one", "zero"], ["s"]),
        helper.make_node("Squeeze", ["s", "zero"], ["t"]),
        helper.make_node("Add", ["a", "t"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["y"]),
        helper.make_node("Mul", ["state", "half"], ["next"]),
    ]
    constants = {
        "w": RNG.normal(size=(6, 8)).astype(np.float32),
        "zero": np.array([0]),
        "one": np.array([1]),
        "half": np.float32(0.5),
    }
    return model(
        nodes, {"x": [batch, 6], "state": STATE}, {"y": [batch, 8], "next": STATE}, constants
    )


def samples(count: int = 16) -> dict[str, np.ndarray]:
    return {
        "x": RNG.normal(size=(count, 6)).astype(np.float32),
        "state": RNG.normal(size=(count, *STATE)).astype(np.float32),
    }


def test_a_state_takes_one_sample_at_a_time() -> None:
    float_model, fed = with_state(1), samples()
    made = quantize_onnx(float_model, [fed])
    one = {"x": fed["x"][:1], "state": fed["state"][0]}
    wanted, found = (
        onnxruntime.InferenceSession(
            ir.to_proto(each).SerializeToString(), providers=["CPUExecutionProvider"]
        ).run(None, one)
        for each in (float_model, made)
    )
    for before, after in zip(map(np.asarray, wanted), map(np.asarray, found), strict=True):
        assert np.abs(before - after).max() < 0.05 * np.abs(before).max()
    exported = exporter.export(made, ExportOptions())
    assert exported.parity.different == ()
    assert [end.name for end in exported.ends] == ["x", "state", "y", "next"]


@pytest.mark.parametrize(
    ("batch", "told"),
    [
        (samples()["x"], "the samples have none for x, state"),
        ({"x": samples()["x"]}, "none for state"),
        ({**samples(4), "x": samples(3)["x"]}, "3 of x, 4 of state"),
        ({**samples(), "x": samples()["x"].astype(np.float64)}, "is float64"),
        ({**samples(), "state": samples()["x"]}, "'state' wants samples of"),
    ],
)
def test_samples_that_do_not_fit_are_told(batch: Any, told: str) -> None:
    with pytest.raises(ArtefactError, match=told):
        quantize_onnx(with_state(), [batch])


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_other_floats_are_computed_in_float32(kind: type[np.floating[Any]]) -> None:
    tensor = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Cast", ["a"], ["b"], to=tensor),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    weights = RNG.normal(size=(4, 3, 3, 3)).astype(kind)
    given = model(nodes, {"x": ["N", 3, 8, 8]}, {"y": ["N", 4, 6, 6]}, {"w": weights}, tensor)
    made = quantize_onnx(given, [RNG.normal(size=(4, 3, 8, 8)).astype(np.float32)])
    assert made.graph.inputs[0].dtype == ir.DataType.FLOAT
    assert made.graph.outputs[0].dtype == ir.DataType.FLOAT
    assert given.graph.inputs[0].dtype == ir.DataType(tensor)


def test_whole_numbers_that_pick_no_rows_are_refused() -> None:
    nodes = [helper.make_node("Mul", ["tokens", "tokens"], ["y"])]
    network = model(nodes, {"tokens": [1, 3]}, {"y": [1, 3]}, {}, TensorProto.INT64)
    with pytest.raises(ArtefactError, match="'tokens' is INT64, not float32, and picks no rows"):
        quantize_onnx(network, [np.zeros((1, 3), np.float32)])


@pytest.mark.parametrize(
    ("shape", "given"), [(["n", 1, 40], (40,)), (["n", 40, 1], (40,)), (["n", 4, 5, 2], (2, 4, 5))]
)
def test_samples_get_the_axes_of_the_model(shape: list[Any], given: tuple[int, ...]) -> None:
    size = int(np.prod(given))
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["y"]),
    ]
    weights = {"w": RNG.normal(size=(size, 3)).astype(np.float32)}
    net = model(nodes, {"x": shape}, {"y": ["n", 3]}, weights)
    batch = RNG.normal(size=(6, *given)).astype(np.float32)
    as_taken = batch.transpose(0, 2, 3, 1) if len(given) == 3 else batch.reshape(6, *shape[1:])
    found, wanted = (
        ir.to_proto(quantize_onnx(net, [each])).graph.SerializeToString(deterministic=True)
        for each in (batch, np.ascontiguousarray(as_taken))
    )
    assert found == wanted


def stacked(batch: Any) -> ir.Model:
    """``y`` of the last of three states of ``x`` that are stacked in front of the batch."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Reshape", ["a", "apart"], ["b"]),
        helper.make_node("Transpose", ["b"], ["c"], perm=[1, 0, 2]),
        helper.make_node("Gather", ["c", "last"], ["d"], axis=0),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    constants = {
        "w": np.random.default_rng(1).normal(size=(6, 12)).astype(np.float32),
        "apart": np.array([0, 3, 4]),
        "last": np.array(-1),
    }
    return model(nodes, {"x": [batch, 6]}, {"y": [batch, 4]}, constants)


def test_what_has_no_form_for_any_batch_takes_one_sample_at_a_time() -> None:
    x, told = RNG.normal(size=(8, 6)).astype(np.float32), list[str]()
    made = quantize_onnx(stacked("N"), [x], tell=told.append)
    assert "takes one sample at a time, which changes no answer, since " in told[0]
    assert "of 'c' depend on the batch" in told[0]
    assert list(made.graph.inputs[0].shape or ()) == [1, 6]
    alone = quantize_onnx(stacked(1), [x])
    files = [exporter.export(each, ExportOptions()).content for each in (made, alone)]
    assert len(files[0]) == len(files[1])
    numbers = [
        {name: value.const_value for name, value in each.graph.initializers.items()}
        for each in (made, alone)
    ]
    assert numbers[0].keys() == numbers[1].keys()
    for name, array in numbers[0].items():
        np.testing.assert_array_equal(array, numbers[1][name])


def test_what_has_no_form_at_all_is_refused_for_what_it_is() -> None:
    broken = stacked("N")
    broken.graph[-1].op_type = "Hardmax"
    with pytest.raises(ArtefactError, match="Hardmax node"):
        quantize_onnx(broken, [RNG.normal(size=(8, 6)).astype(np.float32)])
