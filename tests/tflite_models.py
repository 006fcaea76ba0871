"""A small TFLite model with known numbers, built by hand for the tests."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

SHAPE = (8, 8, 3)
CHANNELS = 4


class ModelBuilder:
    """A TFLite graph of one subgraph, in the schema's object form."""

    def __init__(self) -> None:
        self.model: Any = schema.ModelT()  # the generated classes declare every field optional
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph: Any = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(
        self, name: str, shape: tuple[int, ...], kind: int, scale: list[float], zero: int = 0, value: np.ndarray | None = None
    ) -> int:
        tensor: Any = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), kind, 0
        if value is not None:
            buffer: Any = schema.BufferT()
            buffer.data = np.frombuffer(value.tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        if scale:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = scale
            tensor.quantization.zeroPoint = [zero] * len(scale)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(self, code: int, inputs: list[int], outputs: list[int], kind: int = 0, options: Any = None, version: int = 1) -> None:
        kernel: Any = schema.OperatorCodeT()
        kernel.builtinCode = kernel.deprecatedBuiltinCode = code
        kernel.version = version
        self.model.operatorCodes.append(kernel)
        operator: Any = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, outputs
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        self.graph.operators.append(operator)

    def content(self) -> bytes:
        builder = flatbuffers.Builder(4096)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def int8_model(*, activation_scale: float = 0.05, outputs: list[int] | None = None) -> bytes:
    """A 3 x 3 convolution with per-channel scales and RELU, global average pooling, a reshape; int8 throughout.

    Args:
        activation_scale: of the convolution's output; a nonsensical one makes interpreters abort.
        outputs: the graph's outputs, where other than the last tensor.
    """
    rng = np.random.default_rng(0)
    int8, int32 = schema.TensorType.INT8, schema.TensorType.INT32
    scales = [0.004, 0.005, 0.006, 0.007]
    build = ModelBuilder()
    x = build.tensor("input", (1, *SHAPE), int8, [0.03], 3)
    weight = build.tensor("weight", (CHANNELS, 3, 3, 3), int8, scales, value=rng.integers(-127, 128, (CHANNELS, 3, 3, 3)).astype(np.int8))
    bias = build.tensor("bias", (CHANNELS,), int32, [0.03 * s for s in scales], value=rng.integers(-300, 300, CHANNELS).astype(np.int32))
    first = build.tensor("first", (1, 8, 8, CHANNELS), int8, [activation_scale], -128)
    pool = build.tensor("pool", (1, 1, 1, CHANNELS), int8, [activation_scale], -128)
    flat = build.tensor("output", (1, CHANNELS), int8, [activation_scale], -128)
    shape = build.tensor("shape", (2,), int32, [], value=np.array([1, CHANNELS], np.int32))

    convolution = schema.Conv2DOptionsT()
    convolution.strideH = convolution.strideW = 1
    convolution.fusedActivationFunction = schema.ActivationFunctionType.RELU
    build.operator(schema.BuiltinOperator.CONV_2D, [x, weight, bias], [first], schema.BuiltinOptions.Conv2DOptions, convolution, 3)
    pooling = schema.Pool2DOptionsT()
    pooling.padding = schema.Padding.VALID
    pooling.strideH = pooling.strideW = pooling.filterHeight = pooling.filterWidth = 8
    build.operator(schema.BuiltinOperator.AVERAGE_POOL_2D, [first], [pool], schema.BuiltinOptions.Pool2DOptions, pooling, 2)
    build.operator(schema.BuiltinOperator.RESHAPE, [pool, shape], [flat], schema.BuiltinOptions.ReshapeOptions, schema.ReshapeOptionsT())
    build.graph.inputs, build.graph.outputs = [x], [flat] if outputs is None else outputs
    return build.content()
