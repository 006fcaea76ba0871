"""QOperator files: by ONNX Runtime's own quantizer, and single operators built by hand."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from tests.support.runtimes.calibration import Feeds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

TYPES = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8}
LEAST = {"uint8": 0, "int8": -128}
_OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]


class Float:
    """A float network, node by node."""

    def __init__(self, shape: Sequence[int], seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.shape = tuple(shape)

    def constant(self, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), f"k{len(self.constants)}"))
        return self.constants[-1].name

    def weights(self, *shape: int) -> str:
        return self.constant(
            (self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        )

    def op(self, op_type: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = f"{op_type.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def conv(
        self, x: str, channels: tuple[int, int], kernel: int, groups: int = 1, **attributes: Any
    ) -> str:
        weights = self.weights(channels[1], channels[0] // groups, kernel, kernel)
        bias = self.constant(self.rng.standard_normal(channels[1]).astype(np.float32))
        return self.op(
            "Conv",
            [x, weights, bias],
            kernel_shape=[kernel] * 2,
            pads=[kernel // 2] * 4,
            group=groups,
            **attributes,
        )

    def model(self, output: str) -> onnx.ModelProto:
        ends = (
            helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape),
            helper.make_tensor_value_info(output, TensorProto.FLOAT, None),
        )
        graph = helper.make_graph(self.nodes, "float", [ends[0]], [ends[1]], self.constants)
        model: onnx.ModelProto = helper.make_model(graph, opset_imports=_OPSETS[:1], ir_version=8)
        return onnx.shape_inference.infer_shapes(model)

    def samples(self, count: int) -> NDArray[np.float32]:
        return np.random.default_rng(9).standard_normal((count, *self.shape[1:])).astype(np.float32)


def everything() -> tuple[Float, str]:
    """A network with each operator that ONNX Runtime's quantizer writes an integer one for."""
    net = Float((1, 3, 8, 8))
    first = net.op("Relu", [net.conv("x", (3, 8), 3)])
    second = net.op(
        "Clip",
        [net.conv(first, (8, 8), 3, 8), net.constant(np.float32(0)), net.constant(np.float32(6))],
    )
    total = net.op("Add", [first, net.conv(second, (8, 8), 1)])
    product = net.op("Mul", [net.op("LeakyRelu", [total], alpha=0.1), net.op("Sigmoid", [total])])
    joined = net.op(
        "MaxPool", [net.op("Concat", [product, first], axis=1)], kernel_shape=[2, 2], strides=[2, 2]
    )
    pooled = net.op(
        "AveragePool", [net.conv(joined, (16, 16), 3, 4)], kernel_shape=[2, 2], pads=[1, 1, 0, 0]
    )
    larger = net.op(
        "Resize", [pooled, "", net.constant(np.array([1, 1, 2, 2], np.float32))], mode="nearest"
    )
    padded = net.op("Pad", [larger, net.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))])
    last = net.op("MatMul", [net.op("Transpose", [padded], perm=[0, 2, 3, 1]), net.weights(16, 8)])
    flat = net.op(
        "Flatten", [net.op("GlobalAveragePool", [net.op("Transpose", [last], perm=[0, 3, 1, 2])])]
    )
    bias = net.constant(net.rng.standard_normal(10).astype(np.float32))
    return net, net.op(
        "Softmax", [net.op("Gemm", [flat, net.weights(10, 8), bias], transB=1)], axis=-1
    )


def residual(channels: int = 1, classes: int = 10) -> tuple[Float, str]:
    """A small residual network for images of 8 x 8 pixels, which every format can hold."""
    net = Float((1, channels, 8, 8), seed=3)
    stem = net.op("Relu", [net.conv("x", (channels, 16), 3)])
    inner = net.op(
        "Relu", [net.conv(net.op("Relu", [net.conv(stem, (16, 16), 3)]), (16, 16), 3, 16)]
    )
    total = net.op("Relu", [net.op("Add", [net.conv(inner, (16, 16), 1), stem])])
    flat = net.op("Flatten", [net.op("GlobalAveragePool", [total])])
    return net, net.op(
        "Gemm",
        [flat, net.weights(classes, 16), net.constant(np.zeros(classes, np.float32))],
        transB=1,
    )


def quantized(
    folder: Path,
    model: onnx.ModelProto | Path,
    samples: NDArray[np.float32],
    *,
    name: str = "x",
    activations: str = "uint8",
    weights: str = "int8",
    per_channel: bool = False,
    form: QuantFormat = QuantFormat.QOperator,
    **options: Any,
) -> Path:
    """A file by ``quantize_static``."""
    source = model if not isinstance(model, onnx.ModelProto) else folder / "float.onnx"
    if isinstance(model, onnx.ModelProto):
        onnx.save(model, source)
    target = folder / f"{form.name}-{activations}-{weights}-{per_channel}.onnx"
    kinds = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}
    logging.disable(logging.WARNING)
    try:
        quantize_static(
            source,
            target,
            Feeds({name: sample[None]} for sample in samples),
            quant_format=form,
            activation_type=kinds[activations],
            weight_type=kinds[weights],
            per_channel=per_channel,
            extra_options=options,
        )
    finally:
        logging.disable(logging.NOTSET)
    return target


def one_operator(
    op_type: str,
    inputs: Sequence[tuple[str, Any]],
    data: Mapping[str, NDArray[Any]],
    *,
    domain: str = "com.microsoft",
    output: int | None = None,
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node.

    Args:
        op_type: its operator.
        inputs: names and constants in its order; None for one of ``data``, an empty name for one
            left out.
        data: arrays that are fed.
        domain: the operator's.
        output: the type of its result; that of the first array fed where it is None.
        attributes: the node's.
    """
    kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in data.items()}
    constants = [
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in inputs
        if value is not None
    ]
    node = helper.make_node(
        op_type, [name for name, _ in inputs], ["y"], name="node", domain=domain, **attributes
    )
    ends = [
        helper.make_tensor_value_info(name, kinds[name], array.shape)
        for name, array in data.items()
    ]
    result = helper.make_tensor_value_info("y", output or next(iter(kinds.values())), None)
    model: onnx.ModelProto = helper.make_model(
        helper.make_graph([node], "one", ends, [result], constants),
        opset_imports=_OPSETS,
        ir_version=8,
    )
    return model


def run(
    model: onnx.ModelProto,
    feeds: Mapping[str, NDArray[Any]],
    outputs: Sequence[str] = (),
    *,
    optimize: bool = False,
) -> list[Any]:
    """Values of a model on ONNX Runtime, those of its own outputs where none are named."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    own = {value.name for value in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name not in own)
    options = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = ort.InferenceSession(
        copy.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(list(outputs) or None, dict(feeds)))
