"""Files that any parser takes and no network is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from onnx import TensorProto, helper

from edgeq.errors import ArtefactError
from edgeq.formats.onnx_io import load, read
from edgeq.plan import Planner
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]


def saved(path: Path, nodes: list[onnx.NodeProto], functions: list[onnx.FunctionProto]) -> Path:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
    )
    proto = helper.make_model(graph, opset_imports=OPSETS, functions=functions, ir_version=10)
    path.write_bytes(proto.SerializeToString())
    return path


def twice(name: str, inner: str, domain: str) -> onnx.FunctionProto:
    nodes = [
        helper.make_node(inner, ["a"], ["b"], domain=domain),
        helper.make_node(inner, ["b"], ["c"], domain=domain),
    ]
    return helper.make_function("f", name, ["a"], ["c"], nodes, OPSETS)


@pytest.mark.parametrize("depth", [3, 30])
def test_functions_that_double_30_times_are_not_written_out(depth: int, tmp_path: Path) -> None:
    functions = [twice(f"F{i}", f"F{i + 1}", "f") for i in range(depth - 1)]
    functions.append(twice(f"F{depth - 1}", "Relu", ""))
    call = helper.make_node("F0", ["x"], ["y"], domain="f")
    path = saved(tmp_path / "net.onnx", [call], functions)
    if depth == 3:
        assert len(load(path).functions) == 3
    else:
        with pytest.raises(ArtefactError, match="stand for 1,073,741,824 nodes"):
            load(path)


def test_a_function_that_calls_itself_is_refused(tmp_path: Path) -> None:
    call = helper.make_node("F0", ["x"], ["y"], domain="f")
    path = saved(tmp_path / "net.onnx", [call], [twice("F0", "F0", "f")])
    with pytest.raises(ArtefactError, match="'F0' calls itself"):
        load(path)


def test_a_chain_of_thousands_is_planned(tmp_path: Path) -> None:
    """Deeper than Python's calls may nest, and in time that grows with its length."""
    names = ["x", *(f"a{i}" for i in range(1999)), "y"]
    nodes = [helper.make_node("Relu", [names[i]], [names[i + 1]], f"relu{i}") for i in range(2000)]
    target = TARGETS.load("ort-cpu-ref")
    assert isinstance(target, Planner)
    plan = target.plan(saved(tmp_path / "net.onnx", nodes, []))
    assert len(plan.ops) == 2000
    assert {op.arithmetic for op in plan.ops} == {"float"}


@pytest.mark.parametrize("target", ["ort-cpu", "ort-cpu-ref"])
def test_scales_by_channel_in_an_opset_without_are_told(target: str, tmp_path: Path) -> None:
    """ONNX Runtime's quantiser writes them there."""
    node = helper.make_node("DequantizeLinear", ["q", "s"], ["y"], "dq", axis=0)
    proto = helper.make_model(
        helper.make_graph(
            [node],
            "net",
            [helper.make_tensor_value_info("q", TensorProto.INT8, [2, 2])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])],
            [helper.make_tensor("s", TensorProto.FLOAT, [2], [1.0, 2.0])],
        ),
        opset_imports=[helper.make_opsetid("", 11)],
        ir_version=8,
    )
    path = tmp_path / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    for opened in (lambda: read(path), lambda: TARGETS.load(target).open(path)):
        with pytest.raises(ArtefactError, match="Unrecognized attribute: axis") as caught:
            opened()
        assert "scales by channel need opset 13" in (caught.value.hint or "")
