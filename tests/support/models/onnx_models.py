"""Small ONNX models with known numbers, built by hand for the tests."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from edgeq.data import load, normalize

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SHAPE = (3, 8, 8)
FOUR_LAYERS: tuple[str, ...] = ("stem", "depthwise", "pointwise", "classifier")
_CHANNELS, _SAMPLES, _RIDGE = 16, 400, 10.0


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


def four_layers(path: Path) -> Path:
    """A float network for the digits: random features, and a classifier that is fitted to them.

    About 9 of 10 answers are right, without any training.
    """
    onnx.save(_four_layers(_classifier()), path)
    return path


@cache
def _classifier() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights and bias by ridge regression on what the layers before make of some digits."""
    data = load("digits")
    images, labels = data.train.images[:_SAMPLES], data.train.class_labels[:_SAMPLES]
    session = ort.InferenceSession(_four_layers(None).SerializeToString())
    features = np.asarray(session.run(None, {"x": normalize(images, data)})[0], np.float64)
    known = np.hstack([features, np.ones((len(features), 1))])
    goal = np.eye(10)[labels] * 2 - 1
    inner = known.T @ known + _RIDGE * np.eye(known.shape[1])
    solved = np.linalg.solve(inner, known.T @ goal).T
    return solved[:, :-1].astype(np.float32), solved[:, -1].astype(np.float32)


def _four_layers(
    classifier: tuple[NDArray[np.float32], NDArray[np.float32]] | None,
) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights: dict[str, NDArray[np.floating]] = {
        "stem.weight": rng.normal(0, 0.4, (_CHANNELS, 1, 3, 3)),
        "depthwise.weight": rng.normal(0, 0.4, (_CHANNELS, 1, 3, 3)),
        "pointwise.weight": rng.normal(0, 0.3, (2 * _CHANNELS, _CHANNELS, 1, 1)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "stem.weight"], ["s"], "stem", pads=[1] * 4),
        helper.make_node("Relu", ["s"], ["sr"]),
        helper.make_node(
            "Conv",
            ["sr", "depthwise.weight"],
            ["d"],
            "depthwise",
            group=_CHANNELS,
            strides=[2, 2],
            pads=[1] * 4,
        ),
        helper.make_node("Relu", ["d"], ["dr"]),
        helper.make_node("Conv", ["dr", "pointwise.weight"], ["p"], "pointwise"),
        helper.make_node("Relu", ["p"], ["pr"]),
        helper.make_node("Flatten", ["pr"], ["f"]),
    ]
    if classifier is not None:
        weights["classifier.weight"], weights["classifier.bias"] = classifier
        names = ["f", "classifier.weight", "classifier.bias"]
        nodes.append(helper.make_node("Gemm", names, ["y"], "classifier", transB=1))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [
            helper.make_tensor_value_info(
                "f" if classifier is None else "y", TensorProto.FLOAT, None
            )
        ],
        [
            numpy_helper.from_array(array.astype(np.float32), name)
            for name, array in weights.items()
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return onnx.shape_inference.infer_shapes(made)
