"""Files of one layer between quantisers, for tests of pairs of products that saturate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray


def layer(
    weights: NDArray[np.generic],
    *,
    activation_dtype: str = "uint8",
    zero: int = 0,
    op: str = "Conv",
    relu: bool = False,
    high: int | None = None,
    **attributes: Any,
) -> onnx.ModelProto:
    """One layer between quantisers; ``high`` is the max that an integer Clip lets through."""
    constants = {
        "xs": np.float32(0.02),
        "xz": np.array(zero, activation_dtype),
        "low": np.array(0, activation_dtype),
        "high": np.array(high or 0, activation_dtype),
        "w": weights,
        "ws": np.float32(0.01),
        "wz": np.array(128 if weights.dtype == np.uint8 else 0, weights.dtype),
        "ys": np.float32(0.5),
        "yz": np.array(128, np.uint8),
    }
    shape = {
        "Conv": [1, weights.shape[1] * attributes.get("group", 1), *([5] * (weights.ndim - 2))],
        "Gemm": [1, weights.shape[attributes.get("transB", 0)]],
    }
    nodes = [
        *([helper.make_node("Relu", ["x"], ["r"])] if relu else []),
        helper.make_node("QuantizeLinear", ["r" if relu else "x", "xs", "xz"], ["xq"]),
        *([helper.make_node("Clip", ["xq", "low", "high"], ["xc"])] if high is not None else []),
        helper.make_node(
            "DequantizeLinear", ["xc" if high is not None else "xq", "xs", "xz"], ["xd"]
        ),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]),
        helper.make_node(op, ["xd", "wd"], ["c"], name="layer", **attributes),
        helper.make_node("QuantizeLinear", ["c", "ys", "yz"], ["cq"]),
        helper.make_node("DequantizeLinear", ["cq", "ys", "yz"], ["y"]),
    ]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape[op])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in constants.items()
            if name in used
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
