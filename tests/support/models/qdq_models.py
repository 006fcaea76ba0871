"""QDQ models built node by node, run by ONNX Runtime unoptimised and by TFLite."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from onnx import TensorProto, helper, numpy_helper

from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite.file.layouts import natural
from edgeq.exporters.tflite.storage import Storage, choose_storage
from edgeq.exporters.tflite.writer import write
from edgeq.formats.tflite_schema import schema
from edgeq.qdq.ir import QdqGraph, QdqOp, QdqOutput, QdqTensor
from edgeq.qdq.reader import read_qdq

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KERNELS = {
    "reference": OpResolverType.BUILTIN_REF,
    "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "xnnpack": OpResolverType.AUTO,
}


PLAIN = ExportOptions()


@dataclass(frozen=True)
class Grid:
    """A grid in words: step, zero point, storage dtype, and the integer Clip that narrows it."""

    scale: float
    zero: int = 0
    dtype: str = "uint8"
    clip: tuple[int, int] | None = None


@dataclass
class Graph:
    """Nodes in the order they are added.

    Values are named by what they are called in the canonical form.
    """

    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    scales: dict[str, float] = field(default_factory=dict)

    def constant(self, name: str, value: np.ndarray | np.generic) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(
            helper.make_node(op, list(inputs), [output], name=f"{output}/{op}", **attributes)
        )
        return output

    def several(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> None:
        """A node of several results."""
        self.nodes.append(
            helper.make_node(
                op, list(inputs), list(outputs), name=f"{outputs[0]}/{op}", **attributes
            )
        )

    def quantize(self, name: str, grid: Grid) -> str:
        """``name`` → Q (→ integer Clip) → DQ; returns the dequantised name."""
        params = [
            self.constant(f"{name}_scale", np.array(grid.scale, np.float32)),
            self.constant(f"{name}_zero_point", np.array(grid.zero, grid.dtype)),
        ]
        if grid.clip is None:
            self.node("QuantizeLinear", [name, *params], f"{name}_quantized")
        else:
            self.node("QuantizeLinear", [name, *params], f"{name}_unclipped")
            bounds = [
                self.constant(f"{name}_{end}", np.array(bound, grid.dtype))
                for end, bound in zip(("least", "most"), grid.clip, strict=True)
            ]
            self.node("Clip", [f"{name}_unclipped", *bounds], f"{name}_quantized")
        self.scales[f"{name}_dequantized"] = float(np.float32(grid.scale))
        return self.node("DequantizeLinear", [f"{name}_quantized", *params], f"{name}_dequantized")

    def input(self, name: str, shape: Sequence[Any], grid: Grid) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return self.quantize(name, grid)

    def stored(
        self, name: str, values: np.ndarray, scale: float | np.ndarray, axis: int = 0, zero: int = 0
    ) -> str:
        """Integers behind a DequantizeLinear."""
        step = np.asarray(scale, np.float32)
        zeros = np.full(step.shape, zero, values.dtype)
        params = [self.constant(f"{name}_scale", step), self.constant(f"{name}_zero_point", zeros)]
        ints = self.constant(f"{name}_quantized", values)
        return self.node(
            "DequantizeLinear", [ints, *params], name, **({"axis": axis} if step.ndim else {})
        )

    def op(
        self,
        op: str,
        inputs: Sequence[str],
        name: str,
        grid: Grid,
        *,
        relu: bool = False,
        **attributes: Any,
    ) -> str:
        """A float operator and the quantiser after it; returns the dequantised name."""
        self.node(op, inputs, f"{name}_sum" if relu else name, **attributes)
        if relu:
            self.node("Relu", [f"{name}_sum"], name)
        return self.quantize(name, grid)

    def output(self) -> ir.Model:
        """The model whose output is what the last node computes."""
        return self.model(self.nodes[-1].output[0])

    def weighted(
        self,
        op: str,
        source: str,
        name: str,
        shape: tuple[int, ...],
        grid: Grid,
        *,
        per_channel: bool = False,
        bias: bool = True,
        relu: bool = False,
        channel_axis: int = 0,
        levels: int = 64,  # no pair of which can saturate, on any processor
        **attributes: Any,
    ) -> str:
        """A Conv, Gemm or MatMul with stored weights whose results about fill the output grid."""
        weights = self.rng.integers(-levels, levels + 1, shape).astype(np.int8)
        channels = shape[channel_axis]
        # of the sums, in output LSB
        spread = np.sqrt(weights.size / channels) * levels * self.scales[source] / grid.scale
        steps = (self.rng.uniform(0.4, 1.6, channels) / spread).astype(np.float32)
        scale = steps if per_channel else steps[0]
        inputs = [source, self.stored(f"{name}.weight", weights, scale, channel_axis)]
        if bias:
            products = np.float32(self.scales[source]) * scale
            values = (
                self.rng.normal(0, 20 * grid.scale, channels) / products.astype(np.float64)
            ).astype(np.int32)
            inputs.append(self.stored(f"{name}.bias", values, products))
        return self.op(op, inputs, name, grid, relu=relu, **attributes)

    def ints(self, name: str, values: Sequence[int]) -> str:
        return self.constant(name, np.array(values, np.int64))

    def array(self, name: str, values: Sequence[int], shape: Sequence[int]) -> str:
        return self.constant(name, np.array(values, np.int64).reshape(shape))

    def zeros(self, name: str, shape: Sequence[int]) -> str:
        return self.constant(name, np.zeros(shape, np.float32))

    def rows(self, name: str, values: Sequence[int], shape: Sequence[int], axis: int) -> str:
        """One index a place of an axis, repeated along the others."""
        line = np.array(values, np.int64).reshape(
            [-1 if i == axis else 1 for i in range(len(shape))]
        )
        return self.constant(name, np.broadcast_to(line, shape).copy())

    def scales_of(self, name: str, values: Sequence[float]) -> str:
        return self.constant(name, np.array(values, np.float32))

    def number(self, name: str, value: float) -> str:
        return self.constant(name, np.float32(value))

    def small(self, name: str, shape: tuple[int, ...], scale: float) -> str:
        """Random int8 numbers behind a DequantizeLinear."""
        return self.stored(name, self.rng.integers(-127, 128, shape).astype(np.int8), scale)

    def normalized(self, source: str, name: str, channels: int, grid: Grid) -> str:
        """A BatchNormalization with random numbers."""
        gain, shift, mean = (self.rng.normal(0, 1, channels).astype(np.float32) for _ in range(3))
        numbers = {
            "gain": gain,
            "shift": shift,
            "mean": mean,
            "variance": self.rng.uniform(0.5, 2, channels).astype(np.float32),
        }
        names = [self.constant(f"{name}.{key}", values) for key, values in numbers.items()]
        return self.op("BatchNormalization", [source, *names], name, grid)

    def proto(self, *outputs: str, opset: int = 21) -> onnx.ModelProto:
        infos = [helper.make_empty_tensor_value_info(name) for name in outputs]
        graph = helper.make_graph(self.nodes, "test", self.inputs, infos, self.constants)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10
        )

    def model(self, *outputs: str, opset: int = 21) -> ir.Model:
        return ir.from_proto(self.proto(*outputs, opset=opset))


def onnx_integers(
    proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Integer tensors, as ONNX Runtime computes them with all optimisation off."""
    shown = onnx.ModelProto()
    shown.CopyFrom(proto)
    shown.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        shown.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return {
        name: np.asarray(values)
        for name, values in zip(names, session.run(list(names), dict(feeds)), strict=True)
    }


def interpreter(content: bytes, kernels: str) -> Interpreter:
    runtime = Interpreter(
        model_content=content, num_threads=1, experimental_op_resolver_type=KERNELS[kernels]
    )
    runtime.allocate_tensors()
    return runtime


def tflite_outputs(content: bytes, feeds: Sequence[np.ndarray], kernels: str) -> list[np.ndarray]:
    """The outputs of a TFLite file for stored inputs, batch by batch as given."""
    runtime = interpreter(content, kernels)
    for detail, values in zip(runtime.get_input_details(), feeds, strict=True):
        if tuple(detail["shape"]) != values.shape:
            runtime.resize_tensor_input(detail["index"], values.shape)
    runtime.allocate_tensors()
    for detail, values in zip(runtime.get_input_details(), feeds, strict=True):
        runtime.set_tensor(detail["index"], values)
    runtime.invoke()
    return [runtime.get_tensor(detail["index"]).copy() for detail in runtime.get_output_details()]


def single(op: QdqOp) -> QdqGraph:
    """One operator as a graph of its own: its tensors become inputs, its result the output."""
    opened = {o.name: replace(o, graph_input=o.name) for o in op.inputs if isinstance(o, QdqTensor)}
    inputs = tuple(opened[o.name] if isinstance(o, QdqTensor) else o for o in op.inputs)
    alone = replace(op, inputs=inputs)
    return QdqGraph(
        (alone,),
        tuple(opened.values()),
        (QdqOutput(f"{op.output.name}:0", op.output),),
        dynamic_batch=True,
        metadata={},
    )


def stored(
    tensor: QdqTensor, values: np.ndarray, storage: Storage, axes: Sequence[int] | None = None
) -> np.ndarray:
    """ONNX integers as TFLite stores them.

    Shifted into int8 or int16, images NHWC unless the file says otherwise.
    """
    return (
        (values.astype(np.int32) + storage.shift)
        .astype(storage.dtype)
        .transpose(axes or natural(len(tensor.shape)))
    )


def axes_of(content: bytes) -> dict[str, list[int]]:
    """The ONNX axis of each dimension of the boundary tensors, as the file itself states them."""
    model = schema.ModelT.InitFromPackedBuf(content)
    entry = next(entry for entry in model.metadata if entry.name == b"edgeq")
    found: dict[str, list[int]] = json.loads(bytes(model.buffers[entry.buffer].data))["io"]["axes"]
    return found


def lsb_of(
    op: QdqOp, integers: Mapping[str, np.ndarray], kernels: str, options: ExportOptions = PLAIN
) -> np.ndarray:
    """TFLite's result less ONNX Runtime's, in LSB, for one operator on the same integers.

    Args:
        op: the operator.
        integers: ONNX Runtime's integers by the view's tensor names.
        kernels: a key of ``KERNELS``.
        options: how the TFLite file is written.
    """
    graph = single(op)
    storages = choose_storage(graph)
    content = write(graph, options).content
    axes = axes_of(content)
    feeds = [
        stored(tensor, integers[tensor.name], storages[tensor.name], axes[tensor.graph_input])
        for tensor in graph.inputs
    ]
    found = tflite_outputs(content, feeds, kernels)[0].transpose(
        np.argsort(axes[graph.outputs[0].name])
    )
    wanted = stored(op.output, integers[op.output.name], storages[op.output.name])
    return found.transpose(natural(found.ndim)).astype(np.int32) - wanted.astype(np.int32)


def differences(
    graph: Graph,
    kernels: str,
    *,
    samples: int = 4,
    spread: float = 60.0,
    options: ExportOptions = PLAIN,
) -> dict[str, np.ndarray]:
    """Each operator's LSB differences, given equal integers, by the name of its result.

    Args:
        graph: the model; the last node's result is its output.
        kernels: a key of ``KERNELS``.
        samples: how many random inputs.
        spread: their standard deviation, in LSB of the input's grid.
        options: how the TFLite files are written.
    """
    proto = graph.proto(graph.nodes[-1].output[0])
    view = read_qdq(ir.from_proto(proto))
    feeds = {}
    for tensor in view.inputs:
        shape = (samples, *tensor.shape[1:]) if view.dynamic_batch else tensor.shape
        feeds[tensor.graph_input] = (
            graph.rng.normal(0, spread, shape) * float(tensor.scale)
        ).astype(np.float32)
    names = {name: f"{name}_quantized" for name in view.tensors()}
    known = {value for node in proto.graph.node for value in node.output}
    integers = onnx_integers(proto, feeds, [name for name in names.values() if name in known])
    by_view = {name: integers[file] for name, file in names.items() if file in integers}
    return {
        op.output.name: lsb_of(op, by_view, kernels, options)
        for op in view.ops
        if _complete(op, by_view)
    }


def _complete(op: QdqOp, integers: Mapping[str, np.ndarray]) -> bool:
    """Whether all tensors of an operator are in the ONNX file as integers; moved reals are not."""
    return all(o.name in integers for o in (*op.inputs, op.output) if isinstance(o, QdqTensor))


def operators(content: bytes) -> list[str]:
    """The operators of a TFLite file, in order."""
    runtime = Interpreter(
        model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    return [str(detail["op_name"]) for detail in runtime._get_ops_details()]


S8, U8 = Grid(0.02, 128), Grid(0.03, 0)
"""Signed and unsigned 8-bit grids."""
U4, S4 = Grid(0.1, 0, clip=(0, 15)), Grid(0.3, 128, clip=(120, 135))
"""Unsigned and signed 4-bit grids in an 8-bit storage dtype."""
S16 = Grid(1e-4, 0, "int16")
"""A 16-bit grid as TFLite's 16x8 kernels want it."""
