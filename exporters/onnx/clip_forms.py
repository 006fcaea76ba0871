"""Bounds of a sub-range in other forms than an integer Clip, which some runtimes leave in float."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.errors import ArtefactError
from edgeq.exporters.onnx.ranges import PROPAGATED
from edgeq.qdq.nodes import constant_of, title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.formats.graph_editor import GraphEditor


def reads_integers(value: ir.Value | None) -> bool:
    """Whether a float tensor comes from a DequantizeLinear, seen through data movement."""
    producer = value.producer() if value is not None else None
    while producer is not None and producer.op_type in PROPAGATED:
        value = producer.inputs[0]
        producer = value.producer() if value is not None else None
    return producer is not None and producer.op_type == "DequantizeLinear"


def bound_between(editor: GraphEditor, quantizer: ir.Node, low: int) -> None:
    """Bound a tensor between two equal Q/DQ pairs.

    The operator in front still ends at a quantiser.

    ``Conv → Relu → Q`` becomes ``Conv → Q → DQ → Relu → Q``: the first pair saturates above, the
    Relu, or a Max where the range goes below zero, bounds below, and the second pair finds every
    number on its grid. Where a DequantizeLinear is read, the bound alone is put in front.

    Args:
        editor: of the graph.
        quantizer: the quantiser of the tensor, its zero point moved already.
        low: the smallest step from zero.
    """
    source = _before_relu(quantizer)
    if source is None:
        raise ArtefactError(
            f"QuantizeLinear {title(quantizer)!r} reads nothing",
            hint="write the model again from its source",
        )
    direct = reads_integers(source)
    low = low if source is quantizer.inputs[0] else max(low, 0)
    _detach_relu(editor.graph, quantizer, source)
    name = quantizer.outputs[0].name or "tensor"
    value = source if direct else _pair(editor, quantizer, source, name)
    quantizer.replace_input_with(0, _bounded(editor, quantizer, value, f"{name}_bounded", low))


def bound_reals(editor: GraphEditor, quantizer: ir.Node, low: int, high: int) -> None:
    """Clip the real numbers that a quantiser reads to ``low .. high`` steps from zero.

    A Relu there becomes part of it.
    """
    source = _before_relu(quantizer)
    if source is None:
        raise ArtefactError(
            f"QuantizeLinear {title(quantizer)!r} reads nothing",
            hint="write the model again from its source",
        )
    if low == 0:
        _detach_relu(editor.graph, quantizer, source)
    else:
        source = quantizer.inputs[0] or source
    clipped = _clip(editor, quantizer, source, f"{quantizer.outputs[0].name}_bounded", low, high)
    quantizer.replace_input_with(0, clipped)


def _before_relu(quantizer: ir.Node) -> ir.Value | None:
    value = quantizer.inputs[0]
    relu = value.producer() if value is not None else None
    return relu.inputs[0] if relu is not None and relu.op_type == "Relu" else value


def _detach_relu(graph: ir.Graph, quantizer: ir.Node, source: ir.Value) -> None:
    """Let the quantiser read past a Relu, which is removed where nothing else reads it."""
    value = quantizer.inputs[0]
    if value is source or value is None:
        return
    relu = value.producer()
    quantizer.replace_input_with(0, source)
    if relu is not None and not value.uses() and not value.is_graph_output():
        graph.remove(relu, safe=True)


def _pair(editor: GraphEditor, quantizer: ir.Node, source: ir.Value, name: str) -> ir.Value:
    """A Q/DQ pair on the grid of a quantiser, in front of it."""
    grid = list(quantizer.inputs[1:])
    integers = _insert(
        editor,
        quantizer,
        "QuantizeLinear",
        [source, *grid],
        f"{name}_unbounded",
        *quantizer.attributes.values(),
    )
    if quantizer.outputs[0].dtype is not None:
        integers.dtype = quantizer.outputs[0].dtype
    real = _insert(
        editor, quantizer, "DequantizeLinear", [integers, *grid], f"{name}_unbounded_dequantized"
    )
    integers.shape = real.shape = source.shape
    return real


def _bounded(
    editor: GraphEditor, quantizer: ir.Node, value: ir.Value, name: str, low: int
) -> ir.Value:
    if low == 0:
        bounded = _insert(editor, quantizer, "Relu", [value], name)
        bounded.shape, bounded.dtype = value.shape, ir.DataType.FLOAT
        return bounded
    return _maximum(editor, quantizer, value, name, low)


def _maximum(
    editor: GraphEditor, quantizer: ir.Node, value: ir.Value, name: str, low: int
) -> ir.Value:
    """The greater of a tensor and a constant on its grid.

    A Clip says the same, but Qualcomm's HTP computes one that starts below zero wrongly (seen with
    QNN 2.7: 81 LSB off).
    """
    scale, zero_point = quantizer.inputs[1:3]
    zero = (
        zero_point.const_value.numpy()
        if zero_point is not None and zero_point.const_value is not None
        else np.zeros((), np.uint8)
    )
    stored = editor.constant(
        f"{name}_least_quantized", (zero.astype(np.int32) + low).astype(zero.dtype)
    )
    least = _insert(
        editor, quantizer, "DequantizeLinear", [stored, scale, zero_point], f"{name}_least"
    )
    greater = _insert(editor, quantizer, "Max", [value, least], name)
    greater.shape, greater.dtype = value.shape, ir.DataType.FLOAT
    return greater


def _clip(
    editor: GraphEditor, quantizer: ir.Node, value: ir.Value, name: str, low: int, high: int
) -> ir.Value:
    scale = constant_of(quantizer.inputs[1])
    step = np.asarray(scale, np.float32).reshape(())
    bounds = [
        editor.constant(f"{name}_{end}", np.asarray(np.float32(steps) * step))
        for end, steps in (("least", low), ("most", high))
    ]
    clipped = _insert(editor, quantizer, "Clip", [value, *bounds], name)
    clipped.shape, clipped.dtype = value.shape, ir.DataType.FLOAT
    return clipped


def _insert(
    editor: GraphEditor,
    before: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    name: str,
    *attributes: ir.Attr,
) -> ir.Value:
    node = editor.node(op_type, inputs, name, attributes)
    editor.graph.insert_before(before, node)
    return node.outputs[0]
