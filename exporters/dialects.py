"""Lossless rewrites of a QDQ model for the runtime that will read it.

uint8 with zero point z and int8 with zero point z - 128 are the same numbers, but not the same speed: ONNX Runtime on x86
has fast kernels for uint8 activations, Arm cores and TFLite want int8.

In the int8 dialect a narrow range needs no Clip where its lower bound is seen to: the zero point moves up until the
greatest integer sits on 127, so that saturation is the upper bound (a 4-bit unsigned activation is 112..127 with zero point
112, the integers of the TFLite file). In the uint8 dialect the Clip stays, because ONNX Runtime then keeps the integer
convolution in front of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.errors import ArtefactError
from edgeq.quant import CARRIER_RANGE

if TYPE_CHECKING:
    from edgeq.exporter import Carrier

VIEWS = frozenset(("Slice", "Pad", "Flatten", "Reshape", "Transpose", "Identity"))
_MOVES_AND_MEANS = frozenset(
    ("Slice", "Flatten", "Reshape", "Transpose", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool", "Identity")
)


def to_carrier(model: ir.Model, carrier: Carrier) -> ir.Model:
    """A copy of a QDQ model whose 8-bit activations are held in ``carrier``; weights and biases stay as they are."""
    copy = ir.serde.deserialize_model(ir.serde.serialize_model(model))
    quantizers = [node for node in copy.graph if node.op_type == "QuantizeLinear" and _carrier(node) in ("int8", "uint8")]
    sources = {node: source for node in quantizers if (source := moved_from(node)) is not None}
    for node in quantizers:
        if _carrier(node) != carrier:
            _rewrite(copy.graph, node, carrier, sources.get(node))
    unused = [name for name, value in copy.graph.initializers.items() if not value.uses()]
    for name in unused:
        del copy.graph.initializers[name]
    return copy


@dataclass(frozen=True, slots=True)
class _Range:
    """Integers in use, and the Clip that narrows them, if any."""

    low: int
    high: int
    clip: ir.Node | None


def moved_from(quantizer: ir.Node) -> ir.Node | None:
    """The DequantizeLinear whose grid a quantiser repeats, since nothing but views stands between them."""
    node = quantizer
    while node.inputs[0] is not None and (producer := node.inputs[0].producer()) is not None and producer.op_type in VIEWS:
        node = producer
    source = node.inputs[0].producer() if node.inputs[0] is not None else None
    if node is quantizer or source is None or source.op_type != "DequantizeLinear" or _range(quantizer).clip is not None:
        return None
    return source if list(source.inputs[1:]) == list(quantizer.inputs[1:]) else None


def _rewrite(graph: ir.Graph, quantizer: ir.Node, carrier: Carrier, source: ir.Node | None) -> None:
    if source is not None:  # wherever the grid of what it reads has gone
        shift = _zero(source.inputs[2]) - _zero(quantizer.inputs[2])
        _set_carrier(quantizer, _constant(graph, quantizer.inputs[2], shift, carrier), carrier)
        _follow(graph, quantizer.outputs[0], shift, carrier)
        return
    used = _range(quantizer)
    old_low, _ = CARRIER_RANGE[_carrier(quantizer)]
    low, high = CARRIER_RANGE[carrier]
    bounded = carrier == "int8" and used.clip is not None and _bounded_below(quantizer, used.low)
    shift = high - used.high if bounded else low - old_low
    zero_point = _constant(graph, quantizer.inputs[2], shift, carrier)
    _set_carrier(quantizer, zero_point, carrier)
    integers = quantizer.outputs[0]
    if used.clip is not None and bounded:
        clipped = used.clip.outputs[0]
        name = clipped.name
        clipped.replace_all_uses_with(integers)
        graph.remove(used.clip, safe=True)
        integers.name = name
    elif used.clip is not None:
        for index in (1, 2):
            if (bound := used.clip.inputs[index] if len(used.clip.inputs) > index else None) is not None:
                used.clip.replace_input_with(index, _constant(graph, bound, shift, carrier))
        integers = used.clip.outputs[0]
        integers.dtype = ir.DataType[carrier.upper()]
    else:
        _drop_relu(graph, quantizer, low)
    _follow(graph, integers, shift, carrier)


def _drop_relu(graph: ir.Graph, quantizer: ir.Node, low: int) -> None:
    """Saturation does what a ReLU does where zero is the carrier's least integer; int8 kernels fuse no ReLU there."""
    source, zero_point = quantizer.inputs[0], quantizer.inputs[2]
    relu = source.producer() if source is not None else None
    if relu is None or relu.op_type != "Relu" or len(relu.outputs[0].uses()) != 1 or relu.outputs[0].is_graph_output():
        return
    if zero_point is not None and zero_point.const_value is not None and int(zero_point.const_value.numpy()) == low:
        quantizer.replace_input_with(0, relu.inputs[0])
        graph.remove(relu, safe=True)


def _follow(graph: ir.Graph, integers: ir.Value, shift: int, carrier: Carrier) -> None:
    """Carry the new type on through operators that move integers, to every DequantizeLinear."""
    for node, _ in list(integers.uses()):
        if node.op_type == "DequantizeLinear":
            node.replace_input_with(2, _constant(graph, node.inputs[2], shift, carrier))
        else:
            node.outputs[0].dtype = ir.DataType[carrier.upper()]
            _follow(graph, node.outputs[0], shift, carrier)


def _zero(value: ir.Value | None) -> int:
    if value is None or value.const_value is None:
        raise ArtefactError("a DequantizeLinear has no constant zero point", mend="write it as an initialiser")
    return int(value.const_value.numpy())


def _set_carrier(quantizer: ir.Node, zero_point: ir.Value, carrier: Carrier) -> None:
    quantizer.replace_input_with(2, zero_point)
    quantizer.outputs[0].dtype = ir.DataType[carrier.upper()]
    if "output_dtype" in quantizer.attributes:
        quantizer.attributes.add(ir.AttrInt64("output_dtype", ir.DataType[carrier.upper()].value))


def _constant(graph: ir.Graph, value: ir.Value | None, shift: int, carrier: Carrier) -> ir.Value:
    """The shifted integer constant, made once for each old one and shift."""
    if value is None or value.const_value is None:
        raise ArtefactError("a DequantizeLinear or Clip has no constant zero point or bound", mend="write it as an initialiser")
    name = f"{value.name}_{carrier}" if shift in (-128, 128) else f"{value.name}_{carrier}_{shift}"
    if name not in graph.initializers:
        shifted = np.asarray(value.const_value.numpy(), np.int32) + shift
        tensor = ir.tensor(shifted.astype(carrier), name=name)
        graph.initializers[name] = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(shifted.shape), const_value=tensor)
    return graph.initializers[name]


def _range(quantizer: ir.Node) -> _Range:
    low, high = CARRIER_RANGE[_carrier(quantizer)]
    readers = [node for node, _ in quantizer.outputs[0].uses()]
    if len(readers) != 1 or readers[0].op_type != "Clip":
        return _Range(low, high, None)
    bounds = [None if value is None or value.const_value is None else int(value.const_value.numpy()) for value in readers[0].inputs[1:]]
    bounds += [None] * (2 - len(bounds))
    return _Range(low if bounds[0] is None else bounds[0], high if bounds[1] is None else bounds[1], readers[0])


def _carrier(node: ir.Node) -> str:
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    return "" if zero_point is None or zero_point.const_value is None else zero_point.const_value.dtype.name.lower()


def _bounded_below(quantizer: ir.Node, low: int) -> bool:
    """Whether nothing below ``low`` can arise: it stands for zero, and what is quantised is not negative."""
    zero_point, source = quantizer.inputs[2], quantizer.inputs[0]
    is_zero = zero_point is not None and zero_point.const_value is not None and int(zero_point.const_value.numpy()) == low
    return is_zero and source is not None and _not_negative(source)


def _not_negative(value: ir.Value) -> bool:
    node = value.producer()
    if node is None:
        return False
    if node.op_type == "Relu":
        return True
    if node.op_type == "DequantizeLinear":
        return _grid_not_negative(node)
    return node.op_type in _MOVES_AND_MEANS and all(
        _not_negative(source) for source in node.inputs if source is not None and source.const_value is None
    )


def _grid_not_negative(dequantizer: ir.Node) -> bool:
    """Whether the least integer that a DequantizeLinear can read stands for zero."""
    producer = dequantizer.inputs[0].producer() if dequantizer.inputs[0] is not None else None
    if producer is not None and producer.op_type == "Clip":
        producer = producer.inputs[0].producer() if producer.inputs[0] is not None else None
    if producer is None or producer.op_type != "QuantizeLinear":
        return False
    carrier, zero_point = _carrier(producer), producer.inputs[2]
    if zero_point is None or zero_point.const_value is None:
        return False
    on_least = int(zero_point.const_value.numpy()) == CARRIER_RANGE[carrier][0]
    return on_least or (producer.inputs[0] is not None and _not_negative(producer.inputs[0]))
