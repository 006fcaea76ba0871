"""Which integers can stand behind a quantiser of an ONNX graph.

Its storage dtype, an integer Clip, and what it reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.qdq.nodes import bounds_of, constant_of, grid_of
from edgeq.quant import STORAGE_RANGE

if TYPE_CHECKING:
    import onnx_ir as ir

VIEWS = frozenset(
    ("Slice", "Pad", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity")
)
PROPAGATED = frozenset(
    ("Slice", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "MaxPool", "Flatten", "Identity")
)
"""What ONNX Runtime moves quantisers through."""

_MOVES_AND_MEANS = frozenset(
    (
        "Slice",
        "Flatten",
        "Reshape",
        "Transpose",
        "Concat",
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "Identity",
        "Clip",
    )
)


@dataclass(frozen=True, slots=True)
class QuantizerRange:
    """Integers in use, and the Clip that narrows them, if any."""

    low: int
    high: int
    clip: ir.Node | None


def storage_dtype_of(node: ir.Node) -> str:
    """The integer type of a quantiser or dequantiser.

    Empty where its zero point is not constant.
    """
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    return (
        ""
        if zero_point is None or zero_point.const_value is None
        else zero_point.const_value.dtype.name.lower()
    )


def zero_of(value: ir.Value | None) -> int:
    """A constant zero point.

    Raises:
        ArtefactError: it is left out, or computed.
    """
    if value is None or value.const_value is None:
        raise ArtefactError(
            "a DequantizeLinear has no constant zero point", hint="write it as an initialiser"
        )
    return int(value.const_value.numpy())


def range_of(quantizer: ir.Node) -> QuantizerRange:
    """The integers that a QuantizeLinear and the Clip behind it leave."""
    low, high = STORAGE_RANGE[storage_dtype_of(quantizer)]
    readers = [node for node, _ in quantizer.outputs[0].uses()]
    if len(readers) != 1 or readers[0].op_type != "Clip":
        return QuantizerRange(low, high, None)
    bounds = [
        None if value is None or value.const_value is None else int(value.const_value.numpy())
        for value in readers[0].inputs[1:]
    ]
    bounds += [None] * (2 - len(bounds))
    return QuantizerRange(
        low if bounds[0] is None else bounds[0],
        high if bounds[1] is None else bounds[1],
        readers[0],
    )


def moved_from(quantizer: ir.Node) -> ir.Node | None:
    """The DequantizeLinear whose grid a quantiser repeats behind data movement alone."""
    source = _viewed(quantizer)
    if source is None or range_of(quantizer).clip is not None:
        return None
    return source if list(source.inputs[1:]) == list(quantizer.inputs[1:]) else None


def _viewed(quantizer: ir.Node) -> ir.Node | None:
    """The DequantizeLinear that a quantiser reads through views, one at least."""
    node = quantizer
    while (
        node.inputs[0] is not None
        and (producer := node.inputs[0].producer()) is not None
        and producer.op_type in VIEWS
    ):
        node = producer
    source = node.inputs[0].producer() if node.inputs[0] is not None else None
    return (
        None
        if node is quantizer or source is None or source.op_type != "DequantizeLinear"
        else source
    )


def maker_of(dequantizer: ir.Node) -> ir.Node | None:
    """The quantiser of a DequantizeLinear's integers, seen through a Clip and data movement."""
    value = dequantizer.inputs[0]
    while value is not None and (producer := value.producer()) is not None:
        if producer.op_type == "QuantizeLinear":
            return producer
        value = producer.inputs[0]
    return None


def span(quantizer: ir.Node) -> tuple[int, int]:
    """The min and max of a per-tensor quantiser, in steps from zero, whatever bounds them."""
    used, zero = range_of(quantizer), zero_of(quantizer.inputs[2])
    low, high = used.low - zero, used.high - zero
    source = _viewed(quantizer)
    maker = maker_of(source) if source is not None and _same_step(source, quantizer) else None
    if maker is not None:
        least, most = span(maker)
        return max(low, least), min(high, most)
    value = quantizer.inputs[0]
    if value is None:
        return low, high
    producer = value.producer()
    if producer is not None and producer.op_type in ("Relu", "Clip", "Max"):
        scale = constant_of(quantizer.inputs[1])
        steps = np.asarray(_bounds(producer), np.float64) / float(np.asarray(scale))
        low, high = (
            int(max(low, np.rint(max(steps[0], -(2.0**31))))),
            int(min(high, np.rint(min(steps[1], 2.0**31)))),
        )
    return (max(low, 0) if not_negative(value) else low), high


def _same_step(one: ir.Node, other: ir.Node) -> bool:
    scales = [constant_of(node.inputs[1]) for node in (one, other) if node.inputs[1] is not None]
    return (
        len(scales) == 2
        and scales[0] is not None
        and scales[1] is not None
        and np.array_equal(scales[0], scales[1])
    )


def _bounds(node: ir.Node) -> tuple[float, float]:
    """The bounds of a Relu or Clip, or of a Max with a constant on a grid."""
    if node.op_type != "Max":
        return bounds_of(node)
    producers = [value.producer() for value in node.inputs if value is not None]
    stored = [
        (p, constant_of(p.inputs[0]))
        for p in producers
        if p is not None and p.op_type == "DequantizeLinear" and p.inputs[0]
    ]
    least = [
        grid_of(dequantizer).dequantize(integers.astype(np.int32))
        for dequantizer, integers in stored
        if integers is not None
    ]
    return (float(np.max(least[0])) if least else float("-inf")), float("inf")


def bounded_below(quantizer: ir.Node, low: int) -> bool:
    """Whether nothing below ``low`` can arise.

    It stands for zero, and what is quantised is not negative.
    """
    zero_point, source = quantizer.inputs[2], quantizer.inputs[0]
    is_zero = (
        zero_point is not None
        and zero_point.const_value is not None
        and int(zero_point.const_value.numpy()) == low
    )
    return is_zero and source is not None and not_negative(source)


def not_negative(value: ir.Value) -> bool:
    """Whether a float tensor cannot hold anything below zero."""
    node = value.producer()
    if node is None:
        return False
    if node.op_type == "Relu" or (node.op_type == "Clip" and bounds_of(node)[0] >= 0):
        return True
    if node.op_type == "DequantizeLinear":
        return _grid_not_negative(node)
    if node.op_type == "Max":
        return _bounds(node)[0] >= 0 or any(
            not_negative(source) for source in node.inputs if source is not None
        )
    return node.op_type in _MOVES_AND_MEANS and all(
        not_negative(source)
        for source in node.inputs
        if source is not None and source.const_value is None
    )


def _grid_not_negative(dequantizer: ir.Node) -> bool:
    """Whether the smallest integer that a DequantizeLinear can read stands for zero."""
    producer = dequantizer.inputs[0].producer() if dequantizer.inputs[0] is not None else None
    if producer is not None and producer.op_type == "Clip":
        producer = producer.inputs[0].producer() if producer.inputs[0] is not None else None
    if producer is None or producer.op_type != "QuantizeLinear":
        return False
    storage_dtype, zero_point = storage_dtype_of(producer), producer.inputs[2]
    if zero_point is None or zero_point.const_value is None:
        return False
    on_least = int(zero_point.const_value.numpy()) == STORAGE_RANGE[storage_dtype][0]
    return on_least or (producer.inputs[0] is not None and not_negative(producer.inputs[0]))
