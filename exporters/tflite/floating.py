"""Float networks as TFLite.

The FP32 file that a quantised one is compared with, written by the same operators.

A float model is put into the words of the integer view, with a grid that nothing here looks at, so
that one set of lowering functions writes both. BatchNorm must be folded before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.errors import ArtefactError, shown
from edgeq.exporter import Exported, ParityReport
from edgeq.exporters.tflite.boundary import end_layout
from edgeq.exporters.tflite.expected_values import is_plain
from edgeq.exporters.tflite.file.builder import Builder
from edgeq.exporters.tflite.float_context import FloatContext, HybridContext
from edgeq.exporters.tflite.parity import numbers_in, opened, stored_floats, transposes_in
from edgeq.exporters.tflite.writer import dialect_of, finish, lower_all, outer_layout
from edgeq.formats.quantizers import QUANTIZERS
from edgeq.formats.tflite_file import axes_in
from edgeq.qdq.attributes import attributes_of, picked
from edgeq.qdq.axes import channel_axes
from edgeq.qdq.ir import QdqConstant, QdqGraph, QdqOp, QdqOutput, QdqTensor
from edgeq.qdq.nodes import bounds_of, constant_of, grid_of, in_order, kind_of, title
from edgeq.qdq.op_traits import LAYERS, traits_of
from edgeq.qdq.picks import PICK
from edgeq.qdq.shapes import Shapes, is_open
from edgeq.quant import QuantParams

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.exporter import ExportOptions
    from edgeq.exporters.parity import TensorNumbers
    from edgeq.exporters.tflite.context import LoweringContext
    from edgeq.exporters.tflite.file.layouts import Layout
    from edgeq.qdq.ir import Activation, Operand

_NO_GRID = QuantParams.of(1.0)
_FUSES = frozenset(("Add", "Sub", "Mul", "Conv", "Gemm", "MatMul"))


def is_float(model: ir.Model) -> bool:
    """Whether nothing in a model is quantised."""
    return not any(node.op_type in QUANTIZERS for node in model.graph)


def export_float(model: ir.Model, options: ExportOptions) -> Exported:
    """Write a float model, or one with nothing but its weights in integers.

    Its inputs and outputs are float32, images in the order of ``options.io_layout``.

    Raises:
        ArtefactError: an operator without a TFLite form, BatchNormalization that is not folded
            among them; names it.
    """
    graph = _view(model)
    channels = channel_axes(graph)
    kind = HybridContext if options.dynamic else FloatContext
    context = kind(Builder(graph.dynamic_batch, dialect_of(options)), {}, channels)
    layouts = {
        tensor.name: outer_layout(tensor, channels, options.io_layout)
        for tensor in graph.tensors().values()
    }
    inputs = [
        _input(context, tensor, layouts[tensor.name], end_layout(tensor, channels))
        for tensor in graph.inputs
    ]
    lower_all(graph, context)
    outputs = [context.read(output.tensor, layouts[output.tensor.name]) for output in graph.outputs]
    written = finish(graph, context, inputs, outputs, options, "float32")
    file = opened(written.content)
    integers = numbers_in(file, axes_in(written.content)) if options.dynamic else {}
    parity = _parity(graph, stored_floats(file), integers)
    return Exported(
        written.content,
        parity,
        transposes=transposes_in(file),
        ends=written.ends,
    )


def _input(context: LoweringContext, tensor: QdqTensor, layout: Layout, inner: Layout) -> int:
    index = context.tensor(tensor, layout)
    context.place(tensor, index, layout)
    context.place(tensor, context.read(tensor, inner), inner)
    return index


def _view(model: ir.Model) -> QdqGraph:
    """A float model in the words of the integer view."""
    shapes = Shapes(model)
    tensors: dict[ir.Value, QdqTensor] = {
        value: _tensor(value, shapes) for value in model.graph.inputs
    }
    ops: list[QdqOp] = []
    for node in in_order(model.graph):
        if node.op_type == "DequantizeLinear" and constant_of(node.inputs[0]) is not None:
            continue
        if node.op_type in ("Constant", "Identity", "Dropout") or (
            node.op_type in ("Relu", "Clip") and _fused(node)
        ):
            source = node.inputs[0] if node.inputs else None
            if source is not None:
                tensors[node.outputs[0]] = tensors[source]
            continue
        ops.append(_op(node, tensors, shapes))
    for value in model.graph.outputs:
        if value not in tensors:
            raise ArtefactError(
                f"the output {shown(value.name or '')} is a constant",
                hint="leave it out; it needs no network",
            )
    outputs = tuple(QdqOutput(value.name or "", tensors[value]) for value in model.graph.outputs)
    inputs = tuple(
        replace(tensors[value], graph_input=value.name or "") for value in model.graph.inputs
    )
    dynamic = any(is_open(value) for value in model.graph.inputs)
    return QdqGraph(tuple(ops), inputs, outputs, dynamic, dict(model.metadata_props))


def _op(node: ir.Node, tensors: dict[ir.Value, QdqTensor], shapes: Shapes) -> QdqOp:
    if node.op_type == "BatchNormalization":
        raise ArtefactError(
            f"BatchNormalization {title(node)!r} is not folded",
            hint="fold it into the layer before it",
        )
    kind, first = kind_of(node), node.inputs[0]
    values = node.inputs[: traits_of(kind).data]
    inputs = tuple(None if value is None else _operand(value, tensors) for value in values)
    activation = _activation(node) if node.op_type in ("Relu", "Clip") else ""
    result, fused = node.outputs[0], _fusible_relu(node)
    if fused is not None:
        result, activation = fused.outputs[0], _activation(fused)
    output = tensors[node.outputs[0]] = _tensor(result, shapes)
    op_type = "Relu" if kind == "Clip" else kind
    attributes = (
        picked(node, shapes.of(first), shapes.of(node.outputs[0]))
        if kind == PICK
        else attributes_of(node, shapes.of(first))
    )
    return QdqOp(op_type, title(node), inputs, output, attributes, activation)


def _operand(value: ir.Value, tensors: dict[ir.Value, QdqTensor]) -> Operand:
    if value in tensors:
        return tensors[value]
    constant, maker = constant_of(value), value.producer()
    if maker is not None and maker.op_type == "DequantizeLinear":
        stored = constant_of(maker.inputs[0])
        if stored is not None:
            return QdqConstant(value.name or "constant", stored, grid_of(maker))
    if constant is None:
        raise ArtefactError(
            f"nothing computes the value {value.name!r}",
            hint="write the model again from its source",
        )
    return QdqConstant(value.name or "constant", constant, None)


def _tensor(value: ir.Value, shapes: Shapes) -> QdqTensor:
    return QdqTensor(
        value.name or "tensor", shapes.of(value), _NO_GRID, _NO_GRID.qmin, _NO_GRID.qmax
    )


def _fusible_relu(node: ir.Node) -> ir.Node | None:
    """The Relu that alone reads an operator which can clamp by itself."""
    readers = [reader for reader, _ in node.outputs[0].uses()]
    alone = node.op_type in _FUSES and len(readers) == 1 and not node.outputs[0].is_graph_output()
    return readers[0] if alone and readers[0].op_type in ("Relu", "Clip") else None


def _fused(node: ir.Node) -> bool:
    producer = node.inputs[0].producer() if node.inputs[0] is not None else None
    return producer is not None and _fusible_relu(producer) is node


def _activation(node: ir.Node) -> Activation:
    found: dict[tuple[float, float], Activation] = {
        (0.0, float("inf")): "relu",
        (0.0, 6.0): "relu6",
    }
    bounds = bounds_of(node)
    if bounds not in found:
        raise ArtefactError(
            f"Clip {title(node)!r} clips to {bounds[0]:g}..{bounds[1]:g}", hint="use ReLU or ReLU6"
        )
    return found[bounds]


def _parity(
    graph: QdqGraph,
    found: Mapping[str, NDArray[np.float32]],
    integers: Mapping[str, TensorNumbers],
) -> ParityReport:
    """Every weight and bias of the model against the file's, bit for bit."""
    counts = {1: 0, 2: 0}
    scales, different = 0, []
    for op in graph.ops:
        for position in (1, 2):
            constant = op.inputs[position] if len(op.inputs) > position else None
            if op.op_type not in LAYERS or not isinstance(constant, QdqConstant):
                continue
            key = f"{op.output.name}/{position}"
            written: NDArray[Any] | None = found.get(key)
            values: NDArray[Any] = constant.dequantized()
            if constant.params is not None:
                values = constant.centered()
                stored = integers.get(key)
                written = None if stored is None else stored.centered
                scales += constant.params.scale.size
                scale = _in_file_order(op, position, np.atleast_1d(constant.params.scale))
                if stored is None or not np.array_equal(scale, stored.scale):
                    different.append(f"{constant.name}: its scales differ from the file's")
            transposed = position == 1 and (
                op.op_type == "MatMul" or (op.op_type == "Gemm" and not op.attributes.get("transB"))
            )
            expected = values.T if transposed else _in_file_order(op, position, values)
            counts[position] += expected.size
            if written is None or not np.array_equal(written, expected.reshape(written.shape)):
                different.append(f"{constant.name}: differs from the file")
    return ParityReport(counts[1], counts[2], scales, 0, tuple(different))


def _in_file_order(op: QdqOp, position: int, values: NDArray[Any]) -> NDArray[Any]:
    """The weights of a ConvTranspose that does not stride as those of the Conv that it is."""
    if position != 1 or not is_plain(op):
        return values
    groups = op.integer("group", 1)
    if values.ndim == 1:  # scales: of an output channel each, or of all
        return values if values.size == 1 else np.tile(values, groups)
    parts = [part.swapaxes(0, 1) for part in np.split(values, groups)]
    return np.flip(np.concatenate(parts), tuple(range(2, values.ndim)))
