"""Conditions and loops that follow from constants and sizes are written out; others are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeq.calibration.normal_form.prepare import prepare
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHAPE = [1, 3, 4, 4]
node = helper.make_node


def branch(
    nodes: Sequence[onnx.NodeProto], constants: Mapping[str, Any] | None = None
) -> onnx.GraphProto:
    """A graph whose last node makes its only output."""
    return helper.make_graph(
        nodes,
        "branch",
        [],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        initializer=[numpy_helper.from_array(v, k) for k, v in (constants or {}).items()],
    )


def body(nodes: Sequence[onnx.NodeProto], *, collects: bool = False) -> onnx.GraphProto:
    """A step from ``v`` to ``next``, which perhaps collects ``row`` too."""
    outputs = ["next", "row"] if collects else ["next"]
    return helper.make_graph(
        [*nodes, node("Identity", ["on"], ["goes_on"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs),
        ],
    )


def model(nodes: Sequence[onnx.NodeProto], **constants: Any) -> ir.Model:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return ir.from_proto(made)


def answer(of: ir.Model, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    session = ort.InferenceSession(
        ir.to_proto(of).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {"x": x})[0])


def check(of: ir.Model) -> None:
    x = np.random.default_rng(0).normal(0, 1, SHAPE).astype(np.float32)
    prepared = prepare(of)
    assert not {"If", "Loop"} & {each.op_type for each in prepared.graph}
    np.testing.assert_array_equal(answer(prepared, x), answer(of, x))


def choice(condition: str) -> onnx.NodeProto:
    return node(
        "If",
        [condition],
        ["y"],
        then_branch=branch([node("Mul", ["x", "k"], ["t"])], {"k": np.float32(2)}),
        else_branch=branch([node("Add", ["x", "k"], ["e"])], {"k": np.float32(3)}),
    )


@pytest.mark.parametrize("taken", [True, False])
def test_a_constant_condition_takes_one_branch_with_its_constants(taken: bool) -> None:
    check(model([choice("c")], c=taken))


@pytest.mark.parametrize("channels", [3, 4])
def test_a_condition_on_sizes_takes_one_branch(channels: int) -> None:
    nodes = [
        node("Shape", ["x"], ["size"]),
        node("Gather", ["size", "one"], ["found"]),
        node("Equal", ["found", "wanted"], ["c"]),
        choice("c"),
    ]
    check(model(nodes, one=1, wanted=channels))


def test_branches_may_hold_conditions_and_give_what_others_make() -> None:
    inner = node(
        "If",
        ["d"],
        ["t"],
        then_branch=branch([node("Tanh", ["x"], ["a"])]),
        else_branch=branch([node("Identity", ["x"], ["b"])]),
    )
    outer = node(
        "If",
        ["c"],
        ["y"],
        then_branch=branch([inner]),
        else_branch=branch([node("Relu", ["x"], ["e"])]),
    )
    check(model([outer], c=True, d=False))


@given(st.integers(0, 4), st.booleans(), st.booleans())
@settings(max_examples=10, deadline=None)
def test_a_loop_of_known_length_is_written_out(steps: int, counts: bool, goes_on: bool) -> None:
    step = [
        node("Cast", ["i"], ["number"], to=TensorProto.FLOAT),
        node("Add", ["v", "number"] if counts else ["v", "x"], ["next"]),
    ]
    check(model([node("Loop", ["m", "c", "x"], ["y"], body=body(step))], m=steps, c=goes_on))


def test_a_loop_collects_rows() -> None:
    step = [
        node("Gather", ["x", "i"], ["taken"], axis=2),
        node("Add", ["v", "taken"], ["next"]),
        node("Relu", ["next"], ["row"]),
    ]
    loop = node("Loop", ["m", "", "start"], ["end", "y"], body=body(step, collects=True))
    check(model([loop], m=4, start=np.zeros((1, 3, 4), np.float32)))


def test_what_depends_on_data_is_refused() -> None:
    nodes = [
        node("ReduceMax", ["x"], ["most"], keepdims=0),
        node("Greater", ["most", "zero"], ["c"]),
        choice("c"),
    ]
    with pytest.raises(ArtefactError, match="If node 'y' is control flow that depends on data"):
        prepare(model(nodes, zero=np.float32(0)))


def test_a_loop_that_ends_itself_is_refused() -> None:
    step = body([node("Identity", ["v"], ["next"])])
    step.node[-1].CopyFrom(node("Less", ["i", "i"], ["goes_on"]))
    with pytest.raises(ArtefactError, match="Loop node 'y' is control flow"):
        prepare(model([node("Loop", ["m", "", "x"], ["y"], body=step)], m=3))
