"""Whatever a file says besides its operators and constants is checked, or worked out again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgeq.calibration.normal_form.prepare import prepare
from edgeq.calibration.quantize import fold_onnx
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Build = Callable[..., ir.Model]
WEIGHT: dict[str, NDArray[np.generic]] = {"w": np.ones((4, 3, 3, 3), np.float32)}


def proto(build: Build) -> onnx.ModelProto:
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])]
    return ir.to_proto(build(nodes, WEIGHT, ["n", 3, 8, 8]))


def test_shapes_are_worked_out_and_not_believed(build: Build) -> None:
    model = proto(build)
    model.graph.value_info.append(
        helper.make_tensor_value_info("c", TensorProto.FLOAT, ["n", 99, 1, 1])
    )
    prepared = prepare(ir.from_proto(model))
    assert prepared.graph[0].outputs[0].shape == ["n", 4, 6, 6]


def test_shapes_that_do_not_fit_are_refused(build: Build) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Add", ["c", "x"], ["y"]),
    ]
    with pytest.raises(ArtefactError, match="do not fit"):
        prepare(build(nodes, WEIGHT, ["n", 3, 8, 8]))


def test_initialisers_listed_as_inputs_are_constants(build: Build) -> None:
    model = proto(build)
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 3, 3, 3]))
    assert [value.name for value in prepare(ir.from_proto(model)).graph.inputs] == ["x"]


def test_constants_as_nodes_become_initialisers(build: Build) -> None:
    model = proto(build)
    weight = model.graph.initializer.pop()
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=weight))
    prepared = prepare(ir.from_proto(model))
    assert [node.op_type for node in prepared.graph] == ["Conv", "Relu"]
    assert "w" in prepared.graph.initializers


def test_a_constant_with_too_little_data_is_refused(build: Build) -> None:
    model = proto(build)
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    with pytest.raises(ArtefactError, match="'w' is broken"):
        fold_onnx(ir.from_proto(model))


def test_nodes_and_values_without_names_get_one(build: Build) -> None:
    prepared = prepare(ir.from_proto(proto(build)))
    names = [node.name for node in prepared.graph]
    assert all(names)
    assert len(set(names)) == len(names)


def test_dropout_that_drops_is_refused(build: Build) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Dropout", ["c", "", "on"], ["y"]),
    ]
    with pytest.raises(ArtefactError, match="training mode"):
        prepare(build(nodes, {**WEIGHT, "on": np.array(True)}, ["n", 3, 8, 8]))


def test_operators_of_another_domain_are_left_for_the_rules_to_refuse(build: Build) -> None:
    model = proto(build)
    model.graph.node[1].domain = "com.acme"
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    assert [node.domain for node in prepare(ir.from_proto(model)).graph] == ["", "com.acme"]


@pytest.mark.parametrize("kind", [TensorProto.BOOL, TensorProto.UINT8])
def test_an_input_that_is_not_float32_is_refused(kind: int, build: Build) -> None:
    model = proto(build)
    model.graph.input[0].type.tensor_type.elem_type = kind
    with pytest.raises(ArtefactError, match="not float32"):
        prepare(ir.from_proto(model))


def test_a_model_without_operators_is_refused(build: Build) -> None:
    with pytest.raises(ArtefactError, match="no operators"):
        prepare(build([], {}, ["n", 3], outputs=("x",)))
