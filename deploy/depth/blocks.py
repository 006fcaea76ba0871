"""Where the blocks of a network end: its residual sums, or its layers where it has too few of them.

A block ends with what stands behind its sum: the activation, the concatenation, the pooling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.formats.quantizers import QUANTIZERS
from edgeq.metrics.growth import FEWEST
from edgeq.qdq.nodes import constant_of, stripped

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import onnx_ir as ir

_SUMS = frozenset(("Add", "Sub"))
_LAYERS = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
_SAME = frozenset((*QUANTIZERS, "Identity"))
_BEHIND = _SAME | {
    "Relu",
    "Clip",
    "LeakyRelu",
    "BatchNormalization",
    "Concat",
    "AveragePool",
    "MaxPool",
}


def blocks_of(model: ir.Model) -> tuple[str, ...]:
    """The names of the tensors that blocks end with, as targets show them, in the graph's order.

    Args:
        model: a float or a QDQ model.
    """
    found = tuple(_ends(model, _SUMS))
    return found if len(found) >= FEWEST else tuple(_ends(model, _LAYERS))


def _ends(model: ir.Model, kinds: Collection[str]) -> Iterator[str]:
    seen: set[str] = set()
    for node in model.graph:
        if node.op_type not in kinds:
            continue
        operands = [each for each in node.inputs if each is not None]
        if node.op_type in _SUMS and any(constant_of(each) is not None for each in operands):
            continue
        name = _name(_end(node.outputs[0]))
        if name not in seen:
            seen.add(name)
            yield name


def _end(value: ir.Value) -> ir.Value:
    """The last value of a block, which begins with a sum."""
    for user in value.consumers():
        if user.op_type in _BEHIND and constant_of(user.outputs[0]) is None:
            return _end(user.outputs[0])
    return value


def _name(value: ir.Value) -> str:
    """By which targets show a value: that of its integers where it has any."""
    maker = value.producer()
    while maker is not None and maker.op_type in _SAME and maker.inputs[0] is not None:
        if maker.op_type == "DequantizeLinear":
            return stripped(maker.inputs[0].name or "")
        value = maker.inputs[0]
        maker = value.producer()
    return value.name or ""
