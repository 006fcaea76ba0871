"""MACs of ONNX operators, each by hand, and an audit that counts float models' too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeq.deploy.evaluation.audit import audit, require_share
from edgeq.errors import GateFailed, Inconclusive
from edgeq.qdq.shapes import Shapes
from edgeq.targets.plans.onnx_macs import macs_of

if TYPE_CHECKING:
    from pathlib import Path

ORT = "com.microsoft"


def model(
    op: str,
    given: dict[str, tuple[int, ...]],
    constants: dict[str, tuple[int, ...]] | None = None,
    *,
    order: tuple[str, ...] = (),
    outputs: int = 1,
    result: tuple[int | None, ...] | None = None,
    domain: str = "",
    **attributes: Any,
) -> onnx.ModelProto:
    """One operator on float tensors of these shapes.

    ``order`` names its operands where it is another, with "" for one left out.
    """
    rng, held = np.random.default_rng(0), constants or {}
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in given.items()
    ]
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in held.items()
    ]
    names = [f"y{i}" if i else "y" for i in range(outputs)]
    node = helper.make_node(
        op, list(order or (*given, *held)), names, name="node", domain=domain, **attributes
    )
    shape = result and [size if size is not None else "n" for size in result]
    graph = helper.make_graph(
        [node], "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)], weights
    )
    opsets = [
        helper.make_opsetid("", 23),
        helper.make_opsetid(ORT, 1),
        helper.make_opsetid("elsewhere", 1),
    ]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def counted(one: onnx.ModelProto) -> int | None:
    graph = ir.serde.deserialize_model(one)
    return macs_of(next(iter(graph.graph)), Shapes(graph))


HAND: dict[str, tuple[onnx.ModelProto, int]] = {
    "conv in groups": (
        model("Conv", {"x": (1, 4, 6, 6)}, {"w": (8, 2, 3, 3)}, group=2),
        8 * 4 * 4 * 2 * 9,
    ),
    "transposed conv": (
        model("ConvTranspose", {"x": (1, 4, 6, 6)}, {"w": (4, 5, 2, 2)}, strides=[2, 2]),
        4 * 36 * 5 * 4,
    ),
    "gemm": (model("Gemm", {"x": (1, 6)}, {"w": (6, 3)}), 18),
    "gemm of a transposed": (model("Gemm", {"x": (6, 1)}, {"w": (6, 3)}, transA=1), 18),
    "matmul of matrices": (model("MatMul", {"a": (1, 2, 5, 7), "b": (1, 2, 7, 3)}), 2 * 5 * 7 * 3),
    "matmul of a vector": (model("MatMul", {"x": (7,)}, {"w": (7, 3)}), 21),
    "lstm": (
        model("LSTM", {"x": (5, 1, 6)}, {"w": (1, 16, 6), "r": (1, 16, 4)}, hidden_size=4),
        5 * 16 * (6 + 4),
    ),
    "lstm with peepholes": (
        model(
            "LSTM",
            {"x": (5, 1, 6)},
            {"w": (1, 16, 6), "r": (1, 16, 4), "p": (1, 12)},
            order=("x", "w", "r", "", "", "", "", "p"),
            hidden_size=4,
        ),
        5 * (16 * 10 + 12),
    ),
    "gru both ways": (
        model(
            "GRU",
            {"x": (5, 1, 6)},
            {"w": (2, 12, 6), "r": (2, 12, 4)},
            hidden_size=4,
            direction="bidirectional",
        ),
        5 * 2 * 12 * 10,
    ),
    "rnn, batch first": (
        model("RNN", {"x": (1, 5, 6)}, {"w": (1, 4, 6), "r": (1, 4, 4)}, hidden_size=4, layout=1),
        5 * 4 * 10,
    ),
    "einsum of matrices": (
        model("Einsum", {"a": (2, 5, 7), "b": (2, 7, 3)}, equation="bij,bjk->bik"),
        2 * 5 * 7 * 3,
    ),
    "einsum, result implied": (
        model("Einsum", {"a": (5, 7), "b": (7, 3)}, equation="ij,jk"),
        5 * 7 * 3,
    ),
    "einsum with dots": (
        model("Einsum", {"a": (2, 4, 5, 7), "b": (7, 3)}, equation="...ij,jk->...ik"),
        2 * 4 * 5 * 7 * 3,
    ),
    "einsum of three": (
        model("Einsum", {"a": (5, 7), "b": (7, 3), "c": (3, 2)}, equation="ij,jk,kl->il"),
        5 * 7 * 3 + 5 * 3 * 2,
    ),
    "einsum that only moves": (model("Einsum", {"a": (5, 7)}, equation="ij->ji"), 0),
    "einsum that sums nothing up": (model("Einsum", {"a": (5,), "b": (7,)}, equation="i,j->ij"), 0),
    "attention": (
        model("Attention", {"q": (1, 2, 5, 4), "k": (1, 2, 9, 4), "v": (1, 2, 9, 3)}),
        2 * 5 * 9 * (4 + 3),
    ),
    "attention, heads in one": (
        model(
            "Attention",
            {"q": (1, 5, 8), "k": (1, 9, 4), "v": (1, 9, 6)},
            q_num_heads=2,
            kv_num_heads=1,
        ),
        5 * 9 * (8 + 12),
    ),
    "attention with projections": (
        model("Attention", {"x": (1, 5, 8)}, {"w": (8, 24), "b": (24,)}, domain=ORT, num_heads=2),
        5 * (8 * 24 + 5 * 16),
    ),
    "relu": (model("Relu", {"x": (1, 4)}), 0),
    "product of single numbers": (model("Mul", {"a": (1, 4), "b": (1, 4)}), 0),
}


@pytest.mark.parametrize("case", HAND)
def test_products_by_hand(case: str) -> None:
    one, expected = HAND[case]
    assert counted(one) == expected


@pytest.mark.parametrize(
    "one",
    [
        model("MatMul", {"a": (1, 3, 7), "b": (1, 7, 2)}, domain="elsewhere"),
        model("GroupQueryAttention", {"q": (1, 3, 8)}, domain=ORT, num_heads=2),
        model(
            "Conv",
            {"x": (1, 4, 6, 6)},
            {"w": (8, 4, 3, 3)},
            result=(None, None, None, None),
            domain="elsewhere",
        ),
    ],
    ids=["another maker's", "of unknown form", "of unknown shape"],
)
def test_what_cannot_be_told_is_not_zero(one: onnx.ModelProto) -> None:
    assert counted(one) is None


def branches(*, multiply: bool) -> onnx.ModelProto:
    """An If whose branches are a product of matrices, or none."""
    value, flag = (
        helper.make_tensor_value_info("x", TensorProto.FLOAT, (4, 4)),
        helper.make_tensor_value_info("f", TensorProto.BOOL, ()),
    )
    bodies = []
    for name in ("then", "else"):
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, (4, 4))
        node = helper.make_node("MatMul" if multiply else "Add", ["x", "x"], [name])
        bodies.append(helper.make_graph([node], name, [], [out]))
    node = helper.make_node(
        "If", ["f"], ["y"], name="node", then_branch=bodies[0], else_branch=bodies[1]
    )
    graph = helper.make_graph(
        [node], "g", [flag, value], [helper.make_tensor_value_info("y", TensorProto.FLOAT, (4, 4))]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_branches_tell_their_products_only_where_they_have_none() -> None:
    assert counted(branches(multiply=True)) is None
    assert counted(branches(multiply=False)) == 0


def test_a_gate_lets_no_recurrent_network_in_float_pass(tmp_path: Path) -> None:
    path = tmp_path / "lstm.onnx"
    onnx.save(HAND["lstm"][0], path)
    found = audit(path, "ort-cpu")
    assert (found.macs, found.integer_macs, found.integer_share) == (800, 0, 0.0)
    with pytest.raises(GateFailed, match=r"0.00 % of the MACs.*most is lost in LSTM"):
        require_share(found, 0.95)


def test_a_gate_cannot_decide_on_products_that_are_not_told(tmp_path: Path) -> None:
    path = tmp_path / "branches.onnx"
    onnx.save(branches(multiply=True), path)
    found = audit(path, "ort-cpu-ref")
    assert found.integer_share is None
    with pytest.raises(Inconclusive, match="If 'node' may multiply"):
        require_share(found, 0.5)
