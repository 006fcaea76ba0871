"""Small float networks in ONNX, and a way to run them, for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array: TypeAlias = NDArray[np.float32]
Build: TypeAlias = Callable[..., ir.Model]
Run: TypeAlias = Callable[..., dict[str, Array]]


@pytest.fixture
def build() -> Build:
    """Makes a model of nodes and constants, with the input ``x`` and the output ``y``."""

    def made(
        nodes: Sequence[onnx.NodeProto],
        constants: Mapping[str, NDArray[np.generic]],
        shape: Sequence[int | str],
        *,
        outputs: Sequence[str] = ("y",),
        opset: int = 21,
        inputs: Sequence[str] = ("x",),
    ) -> ir.Model:
        graph = helper.make_graph(
            nodes,
            "net",
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
                for name in inputs
            ],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8
        )
        # the checker wants the shapes of outputs
        return ir.from_proto(onnx.shape_inference.infer_shapes(model))

    return made


@pytest.fixture
def run() -> Run:
    """Runs a model on ONNX Runtime with all optimisation off, or on.

    Returns the outputs, or the tensors asked for.
    """

    def ran(
        model: ir.Model,
        x: NDArray[np.generic],
        *,
        tensors: Sequence[str] = (),
        optimized: bool = False,
    ) -> dict[str, Array]:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        if not optimized:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        proto = ir.to_proto(model)
        known = {value.name for value in proto.graph.output}
        proto.graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in tensors if name not in known
        )
        session = ort.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        names = list(tensors) or [value.name for value in session.get_outputs()]
        made = session.run(names, {session.get_inputs()[0].name: x})
        return {name: np.asarray(values) for name, values in zip(names, made, strict=True)}

    return ran


@pytest.fixture
def stable_net(build: Build) -> ir.Model:
    """The parts of a stable network.

    ``x - h K^T relu(B K x)`` with tied weights, pooling, concatenation and a classifier.
    """
    rng = np.random.default_rng(7)
    nodes = [
        helper.make_node("Conv", ["x", "open.weight"], ["opened"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["opened", "g0", "b0", "m0", "v0"], ["opened_bn"]),
        helper.make_node("Relu", ["opened_bn"], ["u0"]),
        helper.make_node("Conv", ["u0", "block.weight"], ["k"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["k", "g1", "b1", "m1", "v1"], ["k_bn"]),
        helper.make_node("Relu", ["k_bn"], ["s"]),
        helper.make_node("ConvTranspose", ["s", "block.weight"], ["kt"], pads=[1, 1, 1, 1]),
        helper.make_node("Mul", ["kt", "h"], ["step"]),
        helper.make_node("Sub", ["u0", "step"], ["u1"]),
        helper.make_node("Relu", ["u1"], ["u1_relu"]),
        helper.make_node("Slice", ["u1_relu", "from", "to", "axis"], ["half"]),
        helper.make_node("Concat", ["u1_relu", "half"], ["wide"], axis=1),
        helper.make_node("AveragePool", ["wide"], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node(
            "Conv", ["small", "last.weight", "last.bias"], ["last"], pads=[1, 1, 1, 1]
        ),
        helper.make_node("Relu", ["last"], ["last_relu"]),
        helper.make_node("GlobalAveragePool", ["last_relu"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["features"]),
        helper.make_node("Gemm", ["features", "fc.weight", "fc.bias"], ["y"], transB=1),
    ]
    norms = {
        f"{letter}{index}": values.astype(np.float32)
        for index in (0, 1)
        for letter, values in (
            ("g", rng.uniform(-1.5, 1.5, 8)), ("b", rng.normal(size=8) / 4),
            ("m", rng.normal(size=8) / 4), ("v", rng.uniform(0.5, 2, 8)),
        )
    }  # fmt: skip
    constants = {
        "open.weight": rng.normal(size=(8, 3, 3, 3)).astype(np.float32) / 3,
        "block.weight": rng.normal(size=(8, 8, 3, 3)).astype(np.float32) / 6,
        "h": np.float32(0.25),
        "from": np.array([0]), "to": np.array([4]), "axis": np.array([1]),
        "last.weight": rng.normal(size=(16, 12, 3, 3)).astype(np.float32) / 8,
        "last.bias": rng.normal(size=16).astype(np.float32),
        "fc.weight": rng.normal(size=(10, 16)).astype(np.float32),
        "fc.bias": rng.normal(size=10).astype(np.float32),
        **norms,
    }  # fmt: skip
    return build(nodes, constants, ["n", 3, 16, 16])


@pytest.fixture
def images() -> Array:
    """Random images, (64, 3, 16, 16)."""
    return np.random.default_rng(3).normal(size=(64, 3, 16, 16)).astype(np.float32)
