"""The operators of QOperator files.

Which float operator each of them is between integers, and where it holds what.

They are ONNX's own (QLinearConv, QLinearMatMul) and ONNX Runtime's (QGemm, QLinearAdd, ...), as its
quantizer writes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.errors import ArtefactError
from edgeq.qdq.nodes import constant_of, integer_of, merged_errors, title
from edgeq.qdq.normal_form.quant_nodes import is_quant_node, quant_problem
from edgeq.qdq.op_traits import LAYERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray

    Triple = tuple[int, int, int]

ORT = "com.microsoft"
_DOMAINS = ("", "ai.onnx", ORT)
_LAST_FLATTENING_OPSET = 12  # up to which Softmax takes all axes from its own on as one
_STATIC = (
    "edgeq calibrate makes a file with constant scales from the float model; ort-cpu-ref runs "
    "this one as it is"
)
_PLAIN = "write it as QDQ (quant_format=QuantFormat.QDQ); ort-cpu-ref runs this file as it is"

DYNAMIC_PRODUCTS: Mapping[str, str] = {
    "ConvInteger": "Conv",
    "MatMulInteger": "MatMul",
    "DynamicQuantizeMatMul": "MatMul",
    "MatMulIntegerToFloat": "MatMul",
}
"""Products of integers whose scales are found as they run, and the float operator of each."""

DYNAMIC = frozenset(
    (*DYNAMIC_PRODUCTS, "DynamicQuantizeLinear", "DynamicQuantizeLSTM", "QAttention")
)
"""Integer operators that find scales while they run, or give their sums as integers."""


@dataclass(frozen=True, slots=True)
class Form:
    """Where an operator holds what: each operand is (integers, scale, zero point), by position.

    Attributes:
        op_type: the float operator in the middle.
        operands: of the float operator, in its order; empty for as many as there are behind the
            result's grid.
        result: scale and zero point of the result.
        bias: int32 on the grid of the sums; 0 for none.
    """

    op_type: str
    operands: tuple[Triple, ...]
    result: tuple[int, int]
    bias: int = 0


_ONE: tuple[Triple, ...] = ((0, 1, 2),)
_TWO: tuple[Triple, ...] = ((0, 1, 2), (3, 4, 5))
FORMS: Mapping[str, Form] = {
    "QLinearConv": Form("Conv", _TWO, (6, 7), bias=8),
    "QLinearMatMul": Form("MatMul", _TWO, (6, 7)),
    "QGemm": Form("Gemm", _TWO, (7, 8), bias=6),
    "QLinearAdd": Form("Add", _TWO, (6, 7)),
    "QLinearMul": Form("Mul", _TWO, (6, 7)),
    "QLinearConcat": Form("Concat", (), (0, 1)),
    "QLinearAveragePool": Form("AveragePool", _ONE, (3, 4)),
    "QLinearGlobalAveragePool": Form("GlobalAveragePool", _ONE, (3, 4)),
    "QLinearLeakyRelu": Form("LeakyRelu", _ONE, (3, 4)),
    "QLinearSigmoid": Form("Sigmoid", _ONE, (3, 4)),
    "QLinearSoftmax": Form("Softmax", _ONE, (3, 4)),
}

QOPERATORS = frozenset(FORMS)
"""Operators of QOperator files that have a QDQ form."""


def factors_of(node: ir.Node) -> tuple[str, tuple[int, int]] | None:
    """Which product of matrices a node is, as the float operator, and where its factors are."""
    form = FORMS.get(node.op_type)
    kind = node.op_type if form is None else form.op_type
    kind = DYNAMIC_PRODUCTS.get(kind, kind)
    if kind not in LAYERS or len(node.inputs) < 2:
        return None
    return kind, (0, 1) if form is None else (form.operands[0][0], form.operands[1][0])


def require_static(graph: ir.Graph) -> None:
    """Refuse operators on integers that have no QDQ form.

    Raises:
        ArtefactError: there are some; names them all, with what works.
    """
    errors = [
        ArtefactError(f"{node.op_type} {title(node)!r} {problem[0]}", hint=problem[1])
        for node in graph
        if (problem := problem_of(node))
    ]
    if errors:
        raise merged_errors(errors)


def is_qoperator(node: ir.Node) -> bool:
    """Whether a node is one of the operators of the table."""
    return node.op_type in FORMS and node.domain in _DOMAINS


def problem_of(node: ir.Node) -> tuple[str, str] | None:
    """Why an integer operator has no QDQ form, with a hint; None for one that has, and others."""
    if is_quant_node(node):
        return quant_problem(node)
    if node.domain not in _DOMAINS:
        return None
    if node.op_type in DYNAMIC:
        return (
            (
                "computes on integers whose scales are found while it runs, so its integers "
                "are in no file"
            ),
            _STATIC,
        )
    if node.op_type not in FORMS:
        return (
            ("is an operator on integers that edgeq does not know", _PLAIN)
            if node.op_type.startswith("QLinear")
            else None
        )
    if any(
        operand(node, position) is not None and _numbers(node, position) is None
        for position in _grids(node)
    ):
        return "computes its scale or zero point while it runs", _STATIC
    if integer_of(node, "channels_last"):
        return (
            "has its channels last, as ONNX Runtime's optimiser writes it",
            "use the file as it was before it was optimised",
        )
    first = _numbers(node, operands_of(node)[0][1])
    if first is not None and first.size != 1:
        return (
            "has one scale a row or channel for its first operand",
            "quantise activations with one scale",
        )
    if node.op_type == "QLinearSoftmax" and not _is_plain_softmax(node):
        return (
            "takes all axes from its own on as one, as ONNX did up to opset 12",
            "write the model in opset 13 or later",
        )
    if node.op_type == "QGemm" and alpha_of(node) <= 0:
        return (
            f"multiplies its operands by {alpha_of(node)}, which no scale can hold",
            "multiply the weights by it before quantising",
        )
    return None


def _is_plain_softmax(node: ir.Node) -> bool:
    if integer_of(node, "opset", _LAST_FLATTENING_OPSET + 1) > _LAST_FLATTENING_OPSET:
        return True
    value, axis = node.inputs[0], integer_of(node, "axis", -1)
    return axis == -1 or (
        value is not None and value.shape is not None and axis == len(value.shape) - 1
    )


# ---- what a node says ----------------------------------------------------------------------------


def operands_of(node: ir.Node) -> tuple[Triple, ...]:
    """Where a node of the table holds its operands: integers, scale and zero point of each."""
    return FORMS[node.op_type].operands or tuple(
        (i, i + 1, i + 2) for i in range(2, len(node.inputs), 3)
    )


def _grids(node: ir.Node) -> Iterator[int]:
    """The positions of all scales and zero points."""
    for _, scale, zero in operands_of(node):
        yield from (scale, zero)
    yield from FORMS[node.op_type].result


def operand(node: ir.Node, position: int) -> ir.Value | None:
    """The input at a position; None for one left out."""
    return node.inputs[position] if position < len(node.inputs) else None


def _numbers(node: ir.Node, position: int) -> NDArray[np.generic] | None:
    value = operand(node, position)
    return None if value is None else constant_of(value)


def alpha_of(node: ir.Node) -> float:
    """What a QGemm multiplies its product with."""
    attribute = node.attributes.get("alpha")
    return 1.0 if attribute is None else attribute.as_float()
