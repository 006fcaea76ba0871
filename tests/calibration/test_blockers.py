"""All blockers are named at once, with what remains and the tool that does the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.support.checks.calibrated import between, images

from edgeq.calibration.blockers import OUT_OF_SCOPE
from edgeq.calibration.quantize import quantize_onnx
from edgeq.errors import ArtefactError
from edgeq.formats.subgraph import cut

if TYPE_CHECKING:
    import onnx_ir as ir

node = helper.make_node


def refusal(model: ir.Model) -> str:
    with pytest.raises(ArtefactError) as caught:
        quantize_onnx(model, [images()])
    return str(caught.value)


def test_an_operator_nobody_knows_is_named_with_what_remains() -> None:
    last = [
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "second"], ["d"]),
        node("Det", ["d"], ["y"], name="first"),
    ]
    model = between([], last=last)
    told = refusal(model)
    assert "Det node 'first'" in told
    assert "3 of 4" in told
    assert "--outputs d" in told
    assert quantize_onnx(cut(model, ["d"]), [images()]).graph.outputs[0].name == "d"


def test_picking_is_cut_before_it() -> None:
    last = [
        node("Sigmoid", ["c"], ["s"]),
        node("Flatten", ["s"], ["f"]),
        node("TopK", ["f", "k"], ["y", "places"], name="best"),
    ]
    told = refusal(between([], {"k": np.array([3])}, last=last))
    assert "TopK node 'best' picks results" in told
    assert "--outputs f" in told


@pytest.mark.parametrize(
    ("operator", "tool"),
    [("If", "onnxsim"), ("MatMulNBits", "llama.cpp"), ("STFT", "outside"), ("TopK", "--outputs")],
)
def test_what_stays_out_of_scope_has_a_tool(operator: str, tool: str) -> None:
    assert tool in OUT_OF_SCOPE[operator][1]


def test_control_flow_is_named_with_what_comes_before_it() -> None:
    then, other = (
        helper.make_graph(
            [node(operator, ["r"], [f"r_{operator}"])],
            operator,
            [],
            [helper.make_tensor_value_info(f"r_{operator}", TensorProto.FLOAT, None)],
        )
        for operator in ("Relu", "Neg")
    )
    attributes: dict[str, Any] = {"then_branch": then, "else_branch": other}
    last = [
        node("Conv", ["c", "second"], ["r"]),
        node("ReduceMax", ["r"], ["m"], keepdims=0),
        node("Cast", ["m"], ["b"], to=TensorProto.BOOL),
        node("If", ["b"], ["y"], name="branch", **attributes),
    ]
    told = refusal(between([], last=last))
    assert "If node 'branch' is control flow" in told
    assert "--outputs" in told
