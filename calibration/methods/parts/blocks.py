"""Where a quantised network can be cut: the places at which only one tensor is alive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.brief import brief
from edgeq.calibration.methods.parts.run import is_stored
from edgeq.formats.quantizers import QUANTIZERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """What stands between two cuts of a quantised graph.

    Attributes:
        nodes: in the order of the graph, with those that dequantise its constants.
        entry: the tensor that it reads, dequantised; None for the first segment's input.
        exit: the tensor that it makes, dequantised; None where it makes several.
    """

    nodes: tuple[ir.Node, ...]
    entry: ir.Value | None
    exit: ir.Value | None

    __repr__ = brief


def segments(graph: ir.Graph) -> Iterator[Segment]:
    """The graph in as many pieces as its cuts allow, in order."""
    nodes = list(graph)
    last_read = {
        value: index
        for index, node in enumerate(nodes)
        for value in node.inputs
        if value is not None and not is_stored(value)
    }
    alive = {value for value in graph.inputs if value in last_read}
    entry: ir.Value | None = None
    start = 0
    for index, node in enumerate(nodes):
        alive |= {value for value in node.outputs if last_read.get(value, -1) > index}
        alive -= {
            value for value in node.inputs if value is not None and last_read.get(value) == index
        }
        ends = [value for value in node.outputs if value.is_graph_output()]
        leaving = alive or set(ends)
        if len(leaving) == 1 and node.op_type == "DequantizeLinear" and node.outputs[0] in leaving:
            (exit_,) = leaving
            piece = tuple(nodes[start : index + 1])
            inside = [
                value
                for each in piece
                for value in each.outputs
                if value.is_graph_output() and value is not exit_
            ]
            yield Segment(piece, entry, None if inside else exit_)
            entry, start = exit_, index + 1
    if start < len(nodes):
        yield Segment(tuple(nodes[start:]), entry, None)


def source_of(value: ir.Value) -> ir.Value:
    """A tensor as it was before it was put on any grid."""
    node = value.producer()
    while node is not None and is_quantization(node) and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value


def is_quantization(node: ir.Node) -> bool:
    """Whether a node only puts a tensor on a grid, or reads it from there."""
    if node.op_type == "Clip":
        maker = node.inputs[0].producer() if node.inputs[0] is not None else None
        return maker is not None and maker.op_type == "QuantizeLinear"
    return node.op_type in QUANTIZERS
