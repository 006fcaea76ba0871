"""Small ONNX models with known numbers, built by hand for the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (3, 8, 8)


class GraphBuilder:
    """Nodes and constants in the order they are added."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def quantize(
        self, name: str, scale: float, zero: int, dtype: str, top: int | None = None
    ) -> str:
        """``name`` → Q (→ integer Clip) → DQ under edgeq's canonical names.

        Returns the dequantised name.
        """
        grid = [
            self.constant(f"{name}_scale", np.array(scale, np.float32)),
            self.constant(f"{name}_zero", np.array(zero, dtype)),
        ]
        activation_dtype = f"{name}_quantized"
        if top is None:
            self.node("QuantizeLinear", [name, *grid], activation_dtype)
        else:
            self.node("QuantizeLinear", [name, *grid], f"{name}_unclipped")
            bounds = [
                self.constant(f"{name}_{end}", np.array(v, dtype))
                for end, v in (("low", zero), ("high", top))
            ]
            self.node("Clip", [f"{name}_unclipped", *bounds], activation_dtype)
        return self.node("DequantizeLinear", [activation_dtype, *grid], f"{name}_dequantized")

    def convolution(
        self, source: str, name: str, channels: tuple[int, int], scale: float, *, relu: bool
    ) -> str:
        """A 3 x 3 convolution with stored int8 weights and an int32 bias."""
        fan_in, fan_out = channels
        weight = self.rng.integers(-127, 128, (fan_out, fan_in, 3, 3)).astype(np.int8)
        bias = self.rng.integers(-500, 500, fan_out).astype(np.int32)
        parts = [source]
        for part, value, step in (("weight", weight, 0.004), ("bias", bias, 0.004 * scale)):
            stored = self.constant(f"{name}_{part}_quantized", value)
            grid = [
                self.constant(f"{name}_{part}_scale", np.array(step, np.float32)),
                self.constant(f"{name}_{part}_zero", np.zeros((), value.dtype)),
            ]
            parts.append(self.node("DequantizeLinear", [stored, *grid], f"{name}_{part}"))
        out = self.node(
            "Conv", parts, f"{name}_sum" if relu else name, kernel_shape=[3, 3], pads=[1, 1, 1, 1]
        )
        return self.node("Relu", [out], name) if relu else out

    def model(
        self, output: str, *, batch: int | str, opset: int = 21, classes: int = 10
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, *SHAPE])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, classes])],
            self.constants,
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10
        )


def qdq_model(
    *, bits: int = 8, activation_dtype: str = "uint8", batch: int | str = 1, seed: int = 0
) -> onnx.ModelProto:
    """Two convolutions, a residual Add, pooling and a fully connected layer.

    ``bits`` below 8 give the first activation a sub-range.
    """
    graph = GraphBuilder(seed)
    shift = 128 if activation_dtype == "int8" else 0
    x = graph.quantize("input", 0.03, 128 - shift, activation_dtype)
    graph.convolution(x, "first", (3, 8), 0.03, relu=True)
    a = graph.quantize(
        "first", 0.02, -shift, activation_dtype, top=None if bits == 8 else 2**bits - 1 - shift
    )
    graph.convolution(a, "second", (8, 8), 0.02, relu=False)
    b = graph.quantize("second", 0.05, 128 - shift, activation_dtype)
    graph.node("Add", [a, b], "sum")
    s = graph.quantize("sum", 0.06, 128 - shift, activation_dtype)
    graph.node("GlobalAveragePool", [s], "pool")
    p = graph.quantize("pool", 0.03, 128 - shift, activation_dtype)
    graph.node("Flatten", [p], "flat")
    graph.constant("head_weight", graph.rng.normal(0, 0.3, (8, 10)).astype(np.float32))
    graph.node("Gemm", ["flat", "head_weight"], "output")
    return graph.model("output", batch=batch)


def float_model(*, batch: int | str = 1, seed: int = 0) -> onnx.ModelProto:
    """Convolution, Relu, pooling and a fully connected layer in float32."""
    graph = GraphBuilder(seed)
    weight = graph.constant("weight", graph.rng.normal(0, 0.2, (8, 3, 3, 3)).astype(np.float32))
    graph.node("Conv", ["input", weight], "sum", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    graph.node("Relu", ["sum"], "first")
    graph.node("GlobalAveragePool", ["first"], "pool")
    graph.node("Flatten", ["pool"], "flat")
    head = graph.constant("head_weight", graph.rng.normal(0, 0.3, (8, 10)).astype(np.float32))
    graph.node("Gemm", ["flat", head], "output")
    return graph.model("output", batch=batch)


def save(model: onnx.ModelProto, path: Path) -> Path:
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def images(samples: int, seed: int = 1) -> np.ndarray:
    """Random images that fit the models here: float32, (samples, 3, 8, 8)."""
    return np.random.default_rng(seed).normal(0, 1.5, (samples, *SHAPE)).astype(np.float32)
