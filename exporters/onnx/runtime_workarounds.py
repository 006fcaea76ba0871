"""Rewrites what a QDQ file leaves out, or says in a form that a runtime gets wrong.

Each of them was seen to go wrong on a released runtime; the tests of the traps show how.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeq.errors import ArtefactError
from edgeq.exporters.onnx.ranges import PROPAGATED
from edgeq.formats.graph_editor import GraphEditor
from edgeq.formats.quantizers import QUANTIZERS
from edgeq.qdq.nodes import constant_of, grid_of, title


def with_zero_points(model: ir.Model) -> ir.Model:
    """A copy of a model whose every quantiser and dequantiser has a zero point.

    One left out means uint8 zero to most tools.
    """
    copy = _own_copy(model)
    editor = GraphEditor(copy.graph)
    for node in copy.graph:
        if node.op_type in QUANTIZERS:
            zero_point = node.inputs[2] if len(node.inputs) > 2 else None
            if zero_point is None:
                _add_zero_point(editor, node)
            elif zero_point.const_value is None:
                _as_initializer(editor, node, 2)
    return copy


def _own_copy(model: ir.Model) -> ir.Model:
    """A copy that shares numbers alone: a clone's values would share their types too."""
    copy = model.clone()
    values = [*copy.graph.inputs, *copy.graph.initializers.values()]
    for value in (*values, *(output for node in copy.graph for output in node.outputs)):
        if isinstance(value.type, ir.TensorType):
            value.type = ir.TensorType(value.type.dtype, denotation=value.type.denotation)
    return copy


def _add_zero_point(editor: GraphEditor, node: ir.Node) -> None:
    grid = grid_of(node)
    kind = ir.DataType[grid.dtype.upper()]
    zeros = np.zeros(grid.zero_point.shape, np.int32).astype(kind.numpy())
    value = editor.constant(f"{node.outputs[0].name}_no_offset", zeros, dtype=kind)
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    node.replace_input_with(2, value)


def _as_initializer(editor: GraphEditor, node: ir.Node, index: int) -> None:
    """Constants of Constant nodes become initialisers, which is where rewrites look for numbers."""
    value = node.inputs[index]
    numbers = constant_of(value) if value is not None else None
    if value is None or numbers is None or value.name is None:
        return
    node.replace_input_with(
        index, editor.constant(f"{value.name}_stored", np.asarray(numbers), key=value)
    )


def check_channel_axes(graph: ir.Graph) -> None:
    """Refuse convolutions whose weight scales follow the input channels.

    ONNX Runtime's optimiser takes the axis for 0: wrong answers without a word where there are as
    many input channels as output channels, and a failure at run time where there are not.

    Raises:
        ArtefactError: there is one; names it.
    """
    for node in graph:
        weights = (
            node.inputs[1].producer()
            if node.op_type == "Conv" and node.inputs[1] is not None
            else None
        )
        if weights is None or weights.op_type != "DequantizeLinear":
            continue
        grid = grid_of(weights)
        if grid.axis is not None and grid.axis % 4 != 0 and grid.scale.size > 1:
            raise ArtefactError(
                f"the weights of Conv {title(node)!r} have a scale for each input channel, "
                "which runtimes misread",
                hint="use one scale a tensor or an output channel",
            )


def give_views_their_grid(graph: ir.Graph) -> None:
    """Put a Q/DQ pair behind every view of an int8 tensor that has none.

    ONNX Runtime 1.31 adds that pair itself, types it uint8 in one place and int8 in another, and
    then cannot load the model.
    """
    editor = GraphEditor(graph)
    for node in list(graph):
        dequantizer = _dequantizer_before(node)
        if dequantizer is None:
            continue
        moved = node.outputs[0]
        readers = [
            (reader, index) for reader, index in moved.uses() if reader.op_type != "QuantizeLinear"
        ]
        if readers or moved.is_graph_output():
            _repeat_grid(editor, node, dequantizer)


def _dequantizer_before(node: ir.Node) -> ir.Node | None:
    source = node.inputs[0] if node.op_type in PROPAGATED and node.inputs else None
    producer = source.producer() if source is not None else None
    if producer is None or producer.op_type != "DequantizeLinear" or producer.inputs[0] is None:
        return None
    if constant_of(producer.inputs[0]) is not None:
        return None
    grid = grid_of(producer)
    return producer if grid.axis is None and grid.dtype == "int8" else None


def _repeat_grid(editor: GraphEditor, view: ir.Node, dequantizer: ir.Node) -> None:
    graph, moved, grid = editor.graph, view.outputs[0], list(dequantizer.inputs[1:])
    name = moved.name or "view"
    quantize = editor.node("QuantizeLinear", [moved, *grid], f"{name}_repeated_quantized")
    dequantize = editor.node("DequantizeLinear", [quantize.outputs[0], *grid], f"{name}_repeated")
    integers, real = quantize.outputs[0], dequantize.outputs[0]
    integers.dtype, integers.shape = ir.DataType.INT8, moved.shape
    real.dtype, real.shape = ir.DataType.FLOAT, moved.shape
    readers = [(reader, index) for reader, index in moved.uses() if reader is not quantize]
    graph.insert_after(view, [quantize, dequantize])
    for reader, index in readers:
        reader.replace_input_with(index, real)
    if moved.is_graph_output():
        outputs = [real if value is moved else value for value in graph.outputs]
        graph.outputs.clear()
        graph.outputs.extend(outputs)
        moved.name, real.name = editor.values.fresh(f"{name}_moved"), name


def float_biases(graph: ir.Graph) -> None:
    """Store what int32 biases stand for as float32, bit for bit what DequantizeLinear gives."""
    for node in [node for node in graph if node.op_type == "DequantizeLinear"]:
        stored = node.inputs[0]
        integers = constant_of(stored) if stored is not None else None
        if integers is None or integers.dtype != np.int32:
            continue
        real = node.outputs[0]
        numbers = grid_of(node).dequantize(integers.astype(np.int32))
        name = real.name or "bias"
        tensor = ir.tensor(numbers, name=name)
        value = ir.Value(
            name=name,
            type=ir.TensorType(ir.DataType.FLOAT),
            shape=ir.Shape(numbers.shape),
            const_value=tensor,
        )
        real.replace_all_uses_with(value)
        graph.remove(node, safe=True)
        graph.initializers[name] = value  # under the name of what is gone


def add_kernel_shapes(graph: ir.Graph) -> None:
    """Write ``kernel_shape`` where a convolution leaves it to be read from the weights' shape."""
    for node in graph:
        if node.op_type in ("Conv", "ConvTranspose") and "kernel_shape" not in node.attributes:
            weights = node.inputs[1]
            source = weights.producer() if weights is not None else None
            stored = (
                source.inputs[0]
                if source is not None and source.op_type == "DequantizeLinear"
                else weights
            )
            numbers = constant_of(stored) if stored is not None else None
            if numbers is not None:
                node.attributes.add(ir.AttrInt64s("kernel_shape", list(numbers.shape[2:])))


def own_grids(graph: ir.Graph) -> None:
    """Give each tensor a scale and zero point in constants of its own.

    OpenVINO's compiler moves the zero point of a padded tensor in place: with a shared constant it
    moves those of other tensors too, and refuses the model over a shape that does not fit, or
    computes it up to 76 LSB off.
    """
    owners: dict[ir.Value, ir.Value | None] = {}
    editor = GraphEditor(graph)
    for node in [node for node in graph if node.op_type in QUANTIZERS]:
        tensor = _tensor_of(node)
        for index, value in enumerate(node.inputs[1:3], start=1):
            if (
                value is None
                or value.const_value is None
                or owners.setdefault(value, tensor) is tensor
            ):
                continue
            name = f"{value.name}_of_{tensor.name if tensor is not None else 'none'}"
            copied = editor.constant(
                name, value.const_value.numpy(), key=(value, tensor), dtype=value.const_value.dtype
            )
            node.replace_input_with(index, copied)


def _tensor_of(quantizer: ir.Node) -> ir.Value | None:
    """The integers that a quantiser or dequantiser shares its grid with.

    Those in front of the Clip that may narrow them.
    """
    if quantizer.op_type == "QuantizeLinear":
        return quantizer.outputs[0]
    value = quantizer.inputs[0]
    producer = value.producer() if value is not None else None
    return producer.inputs[0] if producer is not None and producer.op_type == "Clip" else value
