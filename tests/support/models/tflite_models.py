"""Small TFLite models with known numbers, built by hand for the tests."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np

from edgeq.formats.tflite_schema import schema

SHAPE = (8, 8, 3)
CHANNELS = 4


class ModelBuilder:
    """A TFLite graph, in the schema's object form.

    Args:
        ours: whether to note in the file that edgeq wrote it, so that LiteRT opens it in this
            process.
    """

    def __init__(self, *, ours: bool = False) -> None:
        self.model: Any = schema.ModelT()  # the generated classes declare every field optional
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.model.subgraphs = []
        self.graph: Any = self.subgraph()
        if ours:
            entry: Any = schema.MetadataT()
            entry.name, entry.buffer = "edgeq", self._buffer(b"{}")
            self.model.metadata = [entry]

    def subgraph(self) -> Any:
        """A further graph, for control flow; what is added from now on is added to it.

        Set ``graph`` to go back.
        """
        graph: Any = schema.SubGraphT()
        self.graph = graph
        graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
        self.model.subgraphs.append(graph)
        return graph

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        kind: int,
        scale: list[float] | None = None,
        zero: int = 0,
        value: np.ndarray | None = None,
        *,
        axis: int = 0,
        variable: bool = False,
    ) -> int:
        """Add a tensor; returns its number."""
        tensor: Any = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer, tensor.isVariable = (
            name,
            list(shape),
            kind,
            0,
            variable,
        )
        if value is not None:
            tensor.buffer = self._buffer(value.tobytes())
        if scale:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = scale
            tensor.quantization.zeroPoint = [zero] * len(scale)
            tensor.quantization.quantizedDimension = axis
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(
        self,
        code: int,
        inputs: list[int],
        outputs: list[int] | None,
        kind: int = 0,
        options: Any = None,
        version: int = 1,
    ) -> None:
        """Add an operator."""
        kernel: Any = schema.OperatorCodeT()
        kernel.builtinCode, kernel.version = code, version
        kernel.deprecatedBuiltinCode = min(
            code, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES
        )
        self.model.operatorCodes.append(kernel)
        operator: Any = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, outputs
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        self.graph.operators.append(operator)

    def content(self) -> bytes:
        """The file."""
        builder = flatbuffers.Builder(4096)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _buffer(self, content: bytes) -> int:
        buffer: Any = schema.BufferT()
        buffer.data = np.frombuffer(content, np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1


def int8_model(
    *, activation_scale: float | None = 0.05, outputs: list[int] | None = None, ours: bool = False
) -> bytes:
    """A 3 x 3 convolution with per-channel scales and RELU, average pooling, a reshape; all int8.

    Args:
        activation_scale: of the convolution's output; a nonsensical one, or none, makes
            interpreters abort.
        outputs: the graph's outputs, where other than the last tensor.
        ours: whether edgeq is said to have written it.
    """
    rng = np.random.default_rng(0)
    int8, int32 = schema.TensorType.INT8, schema.TensorType.INT32
    scales = [0.004, 0.005, 0.006, 0.007]
    build = ModelBuilder(ours=ours)
    grid = [] if activation_scale is None else [activation_scale]
    x = build.tensor("input", (1, *SHAPE), int8, [0.03], 3)
    weight = build.tensor(
        "weight",
        (CHANNELS, 3, 3, 3),
        int8,
        scales,
        value=rng.integers(-127, 128, (CHANNELS, 3, 3, 3)).astype(np.int8),
    )
    bias = build.tensor(
        "bias",
        (CHANNELS,),
        int32,
        [0.03 * s for s in scales],
        value=rng.integers(-300, 300, CHANNELS).astype(np.int32),
    )
    first = build.tensor("first", (1, 8, 8, CHANNELS), int8, grid, -128)
    pool = build.tensor("pool", (1, 1, 1, CHANNELS), int8, grid, -128)
    flat = build.tensor("output", (1, CHANNELS), int8, grid, -128)
    shape = build.tensor("shape", (2,), int32, [], value=np.array([1, CHANNELS], np.int32))

    convolution = schema.Conv2DOptionsT()
    convolution.strideH = convolution.strideW = 1
    convolution.fusedActivationFunction = schema.ActivationFunctionType.RELU
    build.operator(
        schema.BuiltinOperator.CONV_2D,
        [x, weight, bias],
        [first],
        schema.BuiltinOptions.Conv2DOptions,
        convolution,
        3,
    )
    pooling = schema.Pool2DOptionsT()
    pooling.padding = schema.Padding.VALID
    pooling.strideH = pooling.strideW = pooling.filterHeight = pooling.filterWidth = 8
    build.operator(
        schema.BuiltinOperator.AVERAGE_POOL_2D,
        [first],
        [pool],
        schema.BuiltinOptions.Pool2DOptions,
        pooling,
        2,
    )
    build.operator(
        schema.BuiltinOperator.RESHAPE,
        [pool, shape],
        [flat],
        schema.BuiltinOptions.ReshapeOptions,
        schema.ReshapeOptionsT(),
    )
    build.graph.inputs, build.graph.outputs = [x], [flat] if outputs is None else outputs
    return build.content()
