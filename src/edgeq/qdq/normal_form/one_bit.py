"""Weights of one bit, which ONNX has no type for: eight signs a byte, unpacked by a table.

A Gather with the bytes picks rows of a table of 256 rows, the eight weights that each byte stands
for: ``packed -> Cast -> Gather -> Reshape [-> Slice] -> Reshape -> DequantizeLinear``. Any runtime
computes that, most of them once as they load the file. Bit 0 is the first weight; 1 means +1, and 0
means -1. What fills the last byte is cut off by the Slice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.formats.graph_editor import GraphEditor
from edgeq.qdq.nodes import constant_of, integer_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

BITS = 8
TABLE: NDArray[np.int8] = (
    2
    * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").astype(
        np.int8
    )
    - 1
).astype(np.int8)
"""The weights of each byte, (256, 8)."""
_WHOLE = (ir.DataType.INT32, ir.DataType.INT64)


def packed(weights: NDArray[np.int8]) -> NDArray[np.uint8]:
    """The bytes of weights of -1 and +1, in the order of their elements."""
    return np.packbits(weights.reshape(-1) > 0, bitorder="little")


def with_unpacked_weights(model: ir.Model) -> ir.Model:
    """A copy of a model with integers where it unpacks bits; the model itself if it does not."""
    found = [_unpacked(node) for node in model.graph]
    if all(weights is None for weights in found):
        return model
    copy = model.clone()
    for node, weights in zip(list(copy.graph), found, strict=True):
        if weights is not None:
            _replace(copy.graph, node, weights)
    return copy


def _unpacked(dequantizer: ir.Node) -> NDArray[np.int8] | None:
    """What a DequantizeLinear reads where that is unpacked bits; None where it is anything else."""
    if dequantizer.op_type != "DequantizeLinear":
        return None
    shaped = _maker(dequantizer.inputs[0], "Reshape")
    shape = _integers(shaped, 1)
    cut = _maker(_input(shaped, 0), "Slice")
    flat = _maker(_input(cut, 0) if cut is not None else _input(shaped, 0), "Reshape")
    gather = _maker(_input(flat if flat is not None else shaped, 0), "Gather")
    cast = _maker(_input(gather, 1), "Cast")
    table, data = constant_of(_input(gather, 0)), constant_of(_input(cast, 0))
    if gather is None or cast is None or table is None or data is None or shape is None:
        return None
    if (
        table.dtype != np.int8
        or table.shape != TABLE.shape
        or integer_of(gather, "axis", 0)
        or data.dtype != np.uint8
        or data.ndim != 1
        or integer_of(cast, "to", 0) not in _WHOLE
    ):
        return None
    count = int(np.prod(shape)) if (shape >= 0).all() else -1
    if cut is None:
        whole = count == BITS * data.size
    else:
        bounds = [_integers(cut, index) for index in range(1, len(cut.inputs))]
        whole = (
            [None if each is None else each.tolist() for each in bounds] == [[0], [count], [0]]
            and flat is not None
            and (length := _integers(flat, 1)) is not None
            and length.tolist() == [-1]
            and 0 < BITS * data.size - count < BITS
        )
    return (
        table[data.astype(np.uint8)].reshape(-1)[:count].reshape(shape).astype(np.int8)
        if whole
        else None
    )


def _replace(graph: ir.Graph, dequantizer: ir.Node, weights: NDArray[np.int8]) -> None:
    """Store weights under the name of what unpacks them, and forget what nothing reads any more."""
    made = dequantizer.inputs[0]
    assert made is not None  # noqa: S101  # it is unpacked bits
    stored = GraphEditor(graph).constant(f"{made.name}_whole", weights)
    made.replace_all_uses_with(stored)
    waiting: list[ir.Value | None] = [made]
    while waiting:
        value = waiting.pop()
        if value is None or value.uses() or value.is_graph_output():
            continue
        node = value.producer()
        if node is not None:
            read = list(node.inputs)
            graph.remove(node, safe=True)
            waiting.extend(read)
        elif value.name is not None and value.name in graph.initializers:
            del graph.initializers[value.name]
    if not made.is_graph_output() and stored.name is not None:
        del graph.initializers[stored.name]
        stored.name = made.name
        graph.register_initializer(stored)


def _maker(value: ir.Value | None, op_type: str) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == op_type and not node.domain else None


def _input(node: ir.Node | None, index: int) -> ir.Value | None:
    return node.inputs[index] if node is not None and len(node.inputs) > index else None


def _integers(node: ir.Node | None, index: int) -> NDArray[np.int64] | None:
    numbers = constant_of(_input(node, index))
    return None if numbers is None or numbers.dtype.kind not in "iu" else numbers.astype(np.int64)
