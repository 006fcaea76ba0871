"""Cuts a QDQ model into segments from integers to integers, each judged on the same inputs.

Two runtimes that differ by one step in an early tensor differ everywhere behind it, and by more
with every layer. Fed the same integers at every cut, each segment answers for itself: what it does
otherwise is its own doing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from edgeq.brief import brief
from edgeq.formats.graph_editor import GraphEditor
from edgeq.qdq.nodes import bounds_of, constant_of, grid_of, stripped

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from edgeq.quant import QuantParams


@dataclass(frozen=True, slots=True)
class Cut:
    """A quantised tensor where the model is cut.

    Attributes:
        name: the tensor's canonical name, without ``_quantized``.
        output: the graph output that gives its integers as computed.
        feed: the graph input that its readers read instead; None where nothing reads it.
        params: its grid.
        producer: the name of the node that computes the real numbers in front of the quantiser.
    """

    name: str
    output: str
    feed: str | None
    params: QuantParams
    producer: str


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """A model cut at every quantised tensor.

    Attributes:
        model: the same nodes; every cut is a further output, and a further input where it is read.
        cuts: the quantised tensors in graph order.
    """

    model: ir.Model
    cuts: tuple[Cut, ...]

    __repr__ = brief


def cut(model: ir.Model, *, at: Container[str] | None = None) -> Segments:
    """Cut a QDQ model at its quantised activations; ``model`` is left as it is.

    Args:
        model: the model.
        at: the values, by name, whose integers are to be cut at; all quantised activations where it
            is None.

    Raises:
        ArtefactError: a quantiser has no constant grid; names the node.
    """
    # an output must state its shape
    copy = ShapeInferencePass(check_type=False, strict_mode=False)(model.clone()).model
    quantizers = [
        node for node in copy.graph if node.op_type == "QuantizeLinear" and not _of_constant(node)
    ]
    if at is not None:
        quantizers = [node for node in quantizers if (_stored(node)[0].name or "") in at]
    editor = GraphEditor(copy.graph)
    return Segments(copy, tuple(_cut_at(editor, node) for node in quantizers))


def _of_constant(quantizer: ir.Node) -> bool:
    source = quantizer.inputs[0]
    return source is not None and constant_of(source) is not None


def _cut_at(editor: GraphEditor, quantizer: ir.Node) -> Cut:
    graph = editor.graph
    integers, params = _stored(quantizer)
    source = quantizer.inputs[0]
    producer = source.producer() if source is not None else None
    name = integers.name or ""
    readers = list(integers.uses())
    feed = None
    if readers:
        fed = ir.Value(
            name=editor.values.fresh(f"{name}_fed"),
            type=ir.TensorType(ir.DataType[params.dtype.upper()]),
            shape=integers.shape,
        )
        for node, index in readers:
            node.replace_input_with(index, fed)
        graph.inputs.append(fed)
        feed = fed.name
    if not integers.is_graph_output():
        integers.type = ir.TensorType(ir.DataType[params.dtype.upper()])
        graph.outputs.append(integers)
    return Cut(
        stripped(name),
        name,
        feed,
        params,
        (producer.name if producer is not None else source.name if source is not None else "")
        or "",
    )


def _stored(quantizer: ir.Node) -> tuple[ir.Value, QuantParams]:
    """The integers as stored: behind the integer Clip, where one narrows the range."""
    value, params = quantizer.outputs[0], grid_of(quantizer)
    readers: Sequence[ir.Node] = list(value.consumers())
    if len(readers) == 1 and readers[0].op_type == "Clip" and not value.is_graph_output():
        low, high = bounds_of(readers[0])
        return readers[0].outputs[0], replace(
            params, qmin=int(max(params.qmin, low)), qmax=int(min(params.qmax, high))
        )
    return value, params
