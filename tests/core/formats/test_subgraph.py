"""A model that is cut at named tensors computes these, and remembers where it was cut."""

from __future__ import annotations

import json

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeq.calibration.quantize import quantize_onnx
from edgeq.errors import UnknownName, UsageError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.formats.subgraph import CUT, cut

IMAGES = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)


def detector() -> ir.Model:
    """Scores, the best of which are picked in the graph."""
    rng = np.random.default_rng(1)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["maps"], name="conv"),
        helper.make_node("Sigmoid", ["maps"], ["scores"]),
        helper.make_node("Flatten", ["scores"], ["flat"]),
        helper.make_node("TopK", ["flat", "k"], ["best", "places"], name="pick"),
    ]
    constants = [
        numpy_helper.from_array(rng.normal(size=(4, 3, 1, 1)).astype(np.float32), "w"),
        numpy_helper.from_array(np.array([5]), "k"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [
            helper.make_tensor_value_info("best", TensorProto.FLOAT, ["N", 5]),
            helper.make_tensor_value_info("places", TensorProto.INT64, ["N", 5]),
        ],
        constants,
    )
    opsets = [helper.make_opsetid("", 17)]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=8))


def run(model: ir.Model) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return [np.asarray(each) for each in session.run(None, {"x": IMAGES})]


def test_what_is_named_is_computed_in_the_order_of_the_names() -> None:
    made = cut(detector(), ["flat", "maps"])
    assert [value.name for value in made.graph.outputs] == ["flat", "maps"]
    assert "TopK" not in {node.op_type for node in made.graph}
    flat, maps = run(made)
    np.testing.assert_allclose(flat, 1 / (1 + np.exp(-maps)).reshape(2, -1), atol=1e-6)
    told = json.loads(made.metadata_props[CUT])
    assert told == {"at": ["flat", "maps"], "instead_of": ["best", "places"]}


def test_without_names_the_model_stays() -> None:
    model = detector()
    assert cut(model, []) is model


def test_a_cut_survives_calibration_and_export() -> None:
    made = quantize_onnx(cut(detector(), ["flat"]), [IMAGES])
    assert json.loads(made.metadata_props[CUT])["at"] == ["flat"]
    assert exporter.export(made, ExportOptions()).parity.different == ()


def test_a_quantised_model_is_cut_behind_the_quantiser() -> None:
    whole = quantize_onnx(cut(detector(), ["flat"]), [IMAGES])
    made = cut(whole, ["scores"])
    assert made.graph.outputs[0].name == "scores"
    maker = made.graph.outputs[0].producer()
    assert maker is not None
    assert maker.op_type == "DequantizeLinear"
    np.testing.assert_array_equal(run(made)[0].reshape(2, -1), run(whole)[0])
    assert exporter.export(made, ExportOptions()).parity.different == ()


@pytest.mark.parametrize(
    ("names", "error", "told"),
    [
        (["flatt"], UnknownName, "did you mean 'flat'"),
        (["pick"], UsageError, "is a node.*\n.*'best'"),
        (["flat", "flat"], UsageError, "twice"),
        (["places"], UsageError, "holds INT64"),
    ],
)
def test_what_cannot_be_an_output_is_told(
    names: list[str], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        cut(detector(), names)
