"""Dynamic quantisation in ONNX: the range of what a layer reads is that of the batch at hand.

ONNX Runtime's own, ``quantize_dynamic``, has 8 bits only. Here are the same sums for any width, in
float operators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BOUNDARY_BITS = 8


def dynamic(model: ir.Model, weight_bits: int, act_bits: int) -> ir.Model:
    """A canonical float model with its dense and convolutional layers quantised dynamically.

    Weights are rounded to nearest on a symmetric grid for each output channel. What a layer reads
    is rounded on an affine grid from the least to the greatest value of the batch. The first and
    the last layer have 8 bits; all else stays in float.
    """
    proto = ir.to_proto(model)
    graph = proto.graph
    stored = {each.name: each for each in graph.initializer}
    layers = [
        node for node in graph.node if node.op_type in ("Conv", "Gemm") and node.input[1] in stored
    ]
    nodes: list[onnx.NodeProto] = []
    made = 0
    for node in graph.node:
        if any(node is layer for layer in layers):
            outer = node is layers[0] or node is layers[-1]
            widths = (BOUNDARY_BITS, BOUNDARY_BITS) if outer else (weight_bits, act_bits)
            weight = numpy_helper.to_array(stored[node.input[1]])
            name = f"{node.input[1]}_rounded"
            graph.initializer.append(numpy_helper.from_array(_rounded(weight, widths[0]), name))
            read = f"dynamic_{made}"
            nodes += _on_grid(node.input[0], read, widths[1])
            node.input[0], node.input[1] = read, name
            made += 1
        nodes.append(node)
    for name, value in (("dynamic_zero", 0.0), ("dynamic_least", 1e-12)):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    for bits in {BOUNDARY_BITS, act_bits}:
        top = np.array(2**bits - 1, np.float32)
        graph.initializer.append(numpy_helper.from_array(top, f"dynamic_top_{bits}"))
    del graph.node[:]
    graph.node.extend(nodes)
    return ir.from_proto(proto)


def _rounded(weight: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    step = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-12) / (2 ** (bits - 1) - 1)
    return np.asarray((np.rint(rows / step) * step).reshape(weight.shape), np.float32)


def _on_grid(source: str, made: str, bits: int) -> Sequence[onnx.NodeProto]:
    """Operators that round a tensor on the grid from its least to its greatest value."""
    top = f"dynamic_top_{bits}"
    steps = [
        ("ReduceMin", [source], "least"),
        ("ReduceMax", [source], "greatest"),
        ("Min", ["least", "dynamic_zero"], "low"),
        ("Max", ["greatest", "dynamic_zero"], "high"),
        ("Sub", ["high", "low"], "span"),
        ("Div", ["span", top], "given_step"),
        ("Max", ["given_step", "dynamic_least"], "step"),
        ("Div", ["low", "step"], "low_steps"),
        ("Round", ["low_steps"], "zero"),
        ("Div", [source, "step"], "steps"),
        ("Round", ["steps"], "nearest"),
        ("Sub", ["nearest", "zero"], "raised"),
        ("Clip", ["raised", "dynamic_zero", top], "integer"),
        ("Add", ["integer", "zero"], "lowered"),
        ("Mul", ["lowered", "step"], made),
    ]
    own = {name for _, _, name in steps} - {made}

    def full(name: str) -> str:
        return f"{made}_{name}" if name in own else name

    return [
        helper.make_node(kind, [full(each) for each in given], [full(name)])
        for kind, given, name in steps
    ]
