"""Looks for what a runtime would refuse or silently compute wrongly, before it sees a file.

Each function names the first offending tensor or node, or gives nothing. Every trap was found on a
released runtime, and the tests of the targets that ask for it show it there again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.errors import ArtefactError
from edgeq.formats.quantizers import QUANTIZERS
from edgeq.plan import called
from edgeq.qdq.nodes import bounds_of, constant_of, grid_of, title
from edgeq.quant import STORAGE_RANGE

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    import onnx_ir as ir

    from edgeq.quant import QuantParams

_BYTES = ("int8", "uint8")


def foreign_storage_dtype(graph: ir.Graph, storage_dtypes: Container[str]) -> str:
    """The first activation that is held in an 8-bit type other than ``storage_dtypes``."""
    for node in graph:
        grid = _activation_grid(node)
        if grid is not None and grid.dtype in _BYTES and grid.dtype not in storage_dtypes:
            return (
                f"the activation {called(node.inputs[0].name if node.inputs[0] else '')} is "
                f"held in {grid.dtype}"
            )
    return ""


def shared_pad_grid(graph: ir.Graph) -> str:
    """The first Pad behind a zero point other than 0 that is stored once for several tensors."""
    for node in graph:
        source = _behind(node) if node.op_type == "Pad" else None
        grid = _grid(source) if source is not None else None
        if source is None or grid is None or not grid.zero_point.any():
            continue
        sharing = len(_tensors_of(source.inputs[2]))
        if sharing > 1:
            zero = int(grid.zero_point.flat[0])
            return (
                f"Pad {title(node)!r} reads a tensor whose zero point, {zero}, is stored once "
                f"for {sharing} tensors"
            )
    return ""


def integer_clip(graph: ir.Graph) -> str:
    """The first Clip on integers."""
    for node in graph:
        producer = (
            node.inputs[0].producer()
            if node.op_type == "Clip" and node.inputs[0] is not None
            else None
        )
        if producer is not None and producer.op_type == "QuantizeLinear":
            return f"Clip {title(node)!r} bounds integers"
    return ""


def one_sided_clip(graph: ir.Graph) -> str:
    """The first float Clip between equal Q/DQ pairs with one bound in the dtype's range.

    The other bound lies outside of it.
    """
    for node in graph:
        sides = list(_inner_sides(node)) if node.op_type == "Clip" else []
        if len(sides) == 1:
            return (
                f"Clip {title(node)!r} between two equal Q/DQ pairs has a {sides[0]} bound "
                "inside their range and none at the other end"
            )
    return ""


def large_bias(graph: ir.Graph, bits: int) -> str:
    """The first stored int32 tensor that does not fit a signed integer of ``bits`` bits."""
    for node in graph:
        stored = (
            constant_of(node.inputs[0])
            if node.op_type == "DequantizeLinear" and node.inputs[0] is not None
            else None
        )
        if stored is None or stored.dtype.name != "int32" or stored.size == 0:
            continue
        low, high = int(stored.min()), int(stored.max())
        if low < -(2 ** (bits - 1)) or high >= 2 ** (bits - 1):
            return (
                f"{called(node.inputs[0].name if node.inputs[0] else '')} reaches "
                f"{high if high > -low else low}"
            )
    return ""


def _inner_sides(clip: ir.Node) -> Iterator[str]:
    source = _behind(clip)
    before = _grid(source) if source is not None else None
    readers = list(clip.outputs[0].consumers())
    after = (
        _grid(readers[0]) if len(readers) == 1 and readers[0].op_type == "QuantizeLinear" else None
    )
    if (
        before is None
        or after is None
        or before.axis is not None
        or after.axis is not None
        or not _equal(before, after)
    ):
        return
    low, high = bounds_of(clip)
    least, most = STORAGE_RANGE[after.dtype]
    zero, scale = int(after.zero_point), float(after.scale)
    if round(low / scale) + zero > least:
        yield "lower"
    if round(high / scale) + zero < most:
        yield "upper"


def _equal(one: QuantParams, other: QuantParams) -> bool:
    return (
        one.dtype == other.dtype
        and float(one.scale) == float(other.scale)
        and int(one.zero_point) == int(other.zero_point)
    )


def _behind(node: ir.Node) -> ir.Node | None:
    """The DequantizeLinear that makes a node's input."""
    producer = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
    return producer if producer is not None and producer.op_type == "DequantizeLinear" else None


def _tensors_of(constant: ir.Value | None) -> set[ir.Value | None]:
    """The quantised tensors whose grid a constant is part of."""
    readers = [node for node, _ in constant.uses()] if constant is not None else []
    return {
        node.inputs[0] if node.op_type == "DequantizeLinear" else _integers(node)
        for node in readers
    }


def _integers(quantizer: ir.Node) -> ir.Value:
    """What a quantiser's tensor is dequantised from: its output, or that of the Clip behind it."""
    value = quantizer.outputs[0]
    readers = list(value.consumers())
    return readers[0].outputs[0] if len(readers) == 1 and readers[0].op_type == "Clip" else value


def _activation_grid(node: ir.Node) -> QuantParams | None:
    if (
        node.op_type not in QUANTIZERS
        or not node.inputs
        or node.inputs[0] is None
        or constant_of(node.inputs[0]) is not None
    ):
        return None
    return _grid(node)


def _grid(node: ir.Node) -> QuantParams | None:
    try:
        return grid_of(node)
    except ArtefactError:  # computed at run time: nothing to look at
        return None
