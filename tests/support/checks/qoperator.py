"""A QOperator model beside its QDQ form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.models.qoperator_models import LEAST, run

from edgeq.formats.onnx_validation import check_graph
from edgeq.qdq.qoperator.convert import as_qdq

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:onnxruntime", "ignore::UserWarning:onnxruntime"
)


def rewritten(model: onnx.ModelProto) -> onnx.ModelProto:
    found: onnx.ModelProto = ir.to_proto(as_qdq(ir.from_proto(model)))
    check_graph(found, "the QDQ form")
    assert not any(
        node.op_type.startswith("QLinear") or node.op_type == "QGemm" for node in found.graph.node
    )
    return found


def both(
    model: onnx.ModelProto, feeds: dict[str, NDArray[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A model as it is, and its QDQ form; both without graph optimisation."""
    first, second = (run(each, feeds)[0].astype(np.int64) for each in (model, rewritten(model)))
    return first, second


def full(kind: str) -> NDArray[Any]:
    return (np.arange(256) + LEAST[kind]).astype(kind)


def grid(kind: str, place: str, scale: float, zero: int) -> list[tuple[str, NDArray[Any]]]:
    return [
        (f"{place}_scale", np.array(scale, np.float32)),
        (f"{place}_zero", np.array(zero + LEAST[kind], kind)),
    ]
