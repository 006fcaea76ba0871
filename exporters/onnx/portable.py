"""Weights as int8, or as uint8 with zero point 128.

The same numbers, of which no x86 kernel adds the latter in 16 bits.

Kernels without VNNI add pairs of uint8 by int8 products with saturation, and uint8 by uint8
products without; see :mod:`edgeq.qdq.ort_x86.saturation`. Only the layers whose weights and inputs
allow such a pair are changed, since uint8 weights are slower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.errors import ArtefactError
from edgeq.exporters.onnx.ranges import VIEWS
from edgeq.formats.graph_editor import GraphEditor
from edgeq.qdq.layers import layer_of
from edgeq.qdq.nodes import constant_of, stripped
from edgeq.qdq.op_traits import LAYERS
from edgeq.qdq.ort_x86.saturation import pair_sums, pair_sums_of
from edgeq.qdq.reader import read_qdq

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.qdq.ort_x86.saturation import PairSums

_SHIFT = 128


def saturating_layers(model: ir.Model) -> tuple[PairSums, ...] | None:
    """The layers that can saturate on x86 without VNNI; None where the graph is unreadable."""
    try:
        graph = read_qdq(model, float_fallback=True)
    except ArtefactError:
        return None
    return tuple(sums for sums in pair_sums(graph) if sums.can_saturate)


def store_int8(model: ir.Model) -> None:
    """Turn uint8 weights with zero point 128 into int8 with zero point 0; ``model`` is changed."""
    nodes = [
        node
        for node in _weights(model.graph, ir.DataType.UINT8)
        if (_constant(node.inputs[2]) == _SHIFT).all()
    ]
    _shift(model.graph, nodes, ir.DataType.INT8, -_SHIFT)


def store_uint8(model: ir.Model) -> None:
    """Store all int8 weights as uint8 with zero point 128; ``model`` is changed.

    Args:
        model: a QDQ model whose zero points are initialisers.
    """
    _shift(model.graph, _weights(model.graph, ir.DataType.INT8), ir.DataType.UINT8, _SHIFT)


def store_portable(model: ir.Model, layers: tuple[PairSums, ...] | None) -> None:
    """Store the int8 weights that can saturate as uint8 with zero point 128; ``model`` is changed.

    Args:
        model: a QDQ model whose zero points are initialisers.
        layers: whose weights those are, as :func:`saturating_layers` tells; where it cannot, the
            weights keep int8 of which all readers can be told to be safe by themselves.
    """
    risky = None if layers is None else {layer.weight for layer in layers}
    nodes = _weights(model.graph, ir.DataType.INT8)
    chosen = [
        node
        for node in nodes
        if (not _is_safe(node) if risky is None else _stored_name(node) in risky)
    ]
    _shift(model.graph, chosen, ir.DataType.UINT8, _SHIFT)


def _weights(graph: ir.Graph, dtype: ir.DataType) -> list[ir.Node]:
    """The dequantisers of stored integers of a type that some operator takes as its weights."""
    return [
        node
        for node in graph
        if node.op_type == "DequantizeLinear" and _stored_as(node, dtype) and _is_weight(node)
    ]


def _stored_as(dequantizer: ir.Node, dtype: ir.DataType) -> bool:
    tensor = None if dequantizer.inputs[0] is None else dequantizer.inputs[0].const_value
    return tensor is not None and tensor.dtype == dtype


def _stored_name(dequantizer: ir.Node) -> str:
    value = dequantizer.inputs[0]
    return "" if value is None else stripped(value.name or "")


def _is_safe(dequantizer: ir.Node) -> bool:
    """Whether no input of the layers that read stored weights can make a pair saturate."""
    layers = [
        layer_of(reader) if index == 1 else None for reader, index in dequantizer.outputs[0].uses()
    ]
    return all(
        layer is not None and ((sums := pair_sums_of(layer)) is None or not sums.can_saturate)
        for layer in layers
    )


def _is_weight(node: ir.Node) -> bool:
    uses = list(node.outputs[0].uses())
    return any(
        (reader.op_type in LAYERS and index == 1)
        or (reader.op_type in VIEWS and _is_weight(reader))
        for reader, index in uses
    )


def _shift(graph: ir.Graph, dequantizers: list[ir.Node], dtype: ir.DataType, shift: int) -> None:
    """Add to the stored integers and to the zero points.

    A constant that others read too stays, and gets a copy.
    """
    chosen, editor = set(dequantizers), GraphEditor(graph)
    for index in (0, 2):
        for value in dict.fromkeys(node.inputs[index] for node in dequantizers):
            if value is None:
                continue
            numbers = (_constant(value).astype(np.int16) + shift).astype(dtype.numpy())
            uses = list(value.uses())
            if (
                all(reader in chosen and at == index for reader, at in uses)
                and value.is_initializer()
            ):
                value.const_value, value.dtype = ir.tensor(numbers, name=value.name), dtype
                continue
            copy = editor.constant(f"{value.name}_{dtype.name.lower()}", numbers)
            for reader, at in uses:
                if reader in chosen and at == index:
                    reader.replace_input_with(at, copy)


def _constant(value: ir.Value | None) -> NDArray[np.generic]:
    numbers = None if value is None else constant_of(value)
    if numbers is None:
        raise ArtefactError(
            "a DequantizeLinear of stored weights has no constant zero point",
            hint="write it as an initialiser",
        )
    return numbers
