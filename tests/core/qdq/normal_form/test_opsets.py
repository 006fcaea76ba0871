"""A model of an old operator set computes the same in the set that the reader knows."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.support.models.qoperator_models import run

from edgeq.errors import ArtefactError
from edgeq.formats.onnx_io import parse
from edgeq.formats.onnx_validation import check_graph
from edgeq.qdq.normal_form.opsets import at_least_13
from edgeq.qdq.reader import read_qdq

# operator, attributes, constant inputs, the last opset that is asked for
_CASES: list[tuple[str, dict[str, Any], list[Any], int]] = [
    ("Clip", {"min": -0.5, "max": 0.75}, [], 10),
    ("Clip", {"min": 0.25}, [], 10),
    ("Clip", {"max": 0.25}, [], 10),
    ("Pad", {"pads": [0, 1, 0, 2, 0, 0, 1, 1], "value": 0.5}, [], 10),
    ("Pad", {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "mode": "reflect"}, [], 10),
    ("Resize", {"mode": "nearest"}, [np.array([1, 1, 2, 2], np.float32)], 10),
    ("Resize", {"mode": "nearest"}, [np.array([1, 1, 0.5, 0.5], np.float32)], 10),
    ("Resize", {"mode": "linear"}, [np.array([1, 1, 2, 3], np.float32)], 10),
    ("Scatter", {"axis": 1}, [np.zeros((2, 1, 1, 1), np.int64), np.ones((2, 1, 1, 1), "f4")], 10),
    ("Dropout", {"ratio": 0.3}, [], 11),
    ("Squeeze", {"axes": [0]}, [], 12),
    ("Squeeze", {}, [], 12),
    ("Unsqueeze", {"axes": [1, -1]}, [], 12),
    ("ReduceSum", {"axes": [1, -1], "keepdims": 0}, [], 12),
    ("ReduceSum", {}, [], 12),
    ("Split", {"axis": 1, "split": [1, 2]}, [], 12),
    *((kind, at, [], 12) for kind in ("Softmax", "LogSoftmax") for at in ({}, {"axis": 3})),
    ("Softmax", {"axis": 2}, [], 12),
    ("Softmax", {"axis": -1}, [], 12),
    ("Hardmax", {"axis": 1}, [], 12),
]
_SHAPES = ((1, 3, 4, 4), (2, 3, 4, 4), (1, 3, 1, 1))
_ALL = [
    (kind, attributes, constants, opset)
    for kind, attributes, constants, last in _CASES
    for opset in range(10, last + 1)
    if kind != "Unsqueeze" or opset > 10
]


def _model(
    kind: str, attributes: dict[str, Any], constants: list[Any], opset: int, shape: Any
) -> onnx.ModelProto:
    names = [f"c{number}" for number, _ in enumerate(constants)]
    outputs = ["y", "z"] if kind == "Split" else ["y"]
    node = helper.make_node(kind, ["x", *names], outputs, name="node", **attributes)
    graph = helper.make_graph(
        [node],
        "old",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [
            numpy_helper.from_array(np.asarray(c), name)
            for name, c in zip(names, constants, strict=True)
        ],
    )
    model: onnx.ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=6
    )
    return model


@pytest.mark.parametrize("shape", _SHAPES, ids=str)
@pytest.mark.parametrize(("kind", "attributes", "constants", "opset"), _ALL)
def test_an_operator_computes_the_same_in_the_newer_set(
    kind: str, attributes: dict[str, Any], constants: list[Any], opset: int, shape: tuple[int, ...]
) -> None:
    if (kind in ("Pad", "Scatter", "Resize") and shape != (2, 3, 4, 4)) or (
        kind == "Squeeze" and attributes and shape[0] != 1
    ):
        pytest.skip("the operator does not take this shape")
    model = _model(kind, attributes, constants, opset, shape)
    given = ir.from_proto(model)
    raised = at_least_13(given)
    assert given.graph.opset_imports[""] == opset
    found: onnx.ModelProto = ir.to_proto(raised)
    assert found.opset_import[0].version == 13
    check_graph(found, "the newer form")
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    names = [value.name for value in model.graph.output]
    for before, after in zip(run(model, {"x": x}, names), run(found, {"x": x}, names), strict=True):
        np.testing.assert_array_equal(after, before)


def test_a_softmax_over_one_long_axis_stays_one_operator() -> None:
    model = ir.from_proto(_model("Softmax", {}, [], 11, (1, 10, 1, 1)))
    found = at_least_13(model)
    assert [node.op_type for node in found.graph] == ["Softmax"]
    assert next(iter(found.graph)).attributes["axis"].as_int() == 1


def test_a_model_of_another_set_is_left_as_it_is() -> None:
    for opset in (9, 13, 17):
        model = ir.from_proto(_model("Relu", {}, [], opset, (1, 3, 4, 4)))
        assert at_least_13(model) is model


def test_an_older_set_is_refused_by_its_number() -> None:
    model = ir.from_proto(_model("Relu", {}, [], 9, (1, 3, 4, 4)))
    with pytest.raises(ArtefactError, match="opset 9") as caught:
        read_qdq(model)
    assert "from 10 to 25" in caught.value.hint


def test_the_other_name_of_onnx_s_own_domain_is_the_same() -> None:
    model = _model("Relu", {}, [], 17, (1, 3, 4, 4))
    model.opset_import[0].domain = "ai.onnx"
    model.graph.node[0].domain = "ai.onnx"
    found = parse(model.SerializeToString(), "a model")
    assert found.graph.opset_imports == {"": 17}
    assert [node.domain for node in found.graph] == [""]
