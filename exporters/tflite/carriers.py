"""The int8 integers that stand for an ONNX tensor's integers: the same numbers, shifted.

The shift puts the greatest integer in use on 127, so that int8 saturation is the upper bound and no operator is needed
for it: a 4-bit unsigned activation 0..15 with zero point 0 becomes 112..127 with zero point 112, and a fused ReLU is
its lower bound. Operators that only move integers need one shift on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.qdq import MOVES, QdqConstant, QdqTensor, reach, same_grid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeq.qdq import QdqGraph, QdqOp

LEAST, GREATEST = -128, 127
_CARRIERS = frozenset(("int4", "uint4", "int8", "uint8"))
_POOLS = frozenset(("AveragePool", "GlobalAveragePool", "ReduceMean"))
_EVERYTHING = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Carrier:
    """How a tensor is held in int8.

    Attributes:
        shift: what is added to the ONNX integers.
        zero_point: the int8 that stands for zero.
        low: the least int8 that may occur.
        high: the greatest int8 that may occur.
    """

    shift: int
    zero_point: int
    low: int
    high: int


def choose_carriers(graph: QdqGraph) -> dict[str, Carrier]:
    """The int8 carrier of every tensor of a graph, by name.

    Raises:
        ArtefactError: a tensor has more than 8 bits or more than one scale.
    """
    tensors = graph.tensors()
    for tensor in tensors.values():
        _check(tensor)
    group = _groups(graph)
    top: dict[str, int] = {}
    for tensor in tensors.values():
        root = _root(group, tensor.name)
        top[root] = max(top.get(root, tensor.zero_point), tensor.high)
    return {name: _shifted(tensor, GREATEST - top[_root(group, name)]) for name, tensor in tensors.items()}


def clamps(op: QdqOp, carrier: Carrier) -> tuple[int | None, int | None]:
    """The bounds of an operator's output that neither its inputs nor int8 saturation see to."""
    open_range = replace(op.output.params, qmin=-_EVERYTHING, qmax=_EVERYTHING)
    low, high = reach(op.op_type, op.inputs, open_range)
    needs_low = max(low + carrier.shift, LEAST) < carrier.low
    needs_high = min(high + carrier.shift, GREATEST) > carrier.high
    return carrier.low if needs_low else None, carrier.high if needs_high else None


def int8_weights(op: QdqOp, constant: QdqConstant, channel_axis: int) -> NDArray[np.int8]:
    """Weights with zero point 0, as every TFLite kernel wants them.

    One -128 a channel is let through: kernels that add two products in 16 bits, as those for Arm cores without
    dot-product instructions do, overflow only when two of them meet inputs of -128.

    Args:
        op: the operator, for messages.
        constant: its weights.
        channel_axis: the axis of the output channels.

    Raises:
        ArtefactError: the weights do not fit, or their scales follow another axis.
    """
    params = constant.params
    if params is None:
        raise refused(op, f"its weights {constant.name!r} are in float", "store integer weights behind a DequantizeLinear")
    if params.axis is not None and params.axis % constant.values.ndim != channel_axis:
        raise refused(op, "its weight scales do not follow the output channels", "use one scale a tensor or an output channel")
    zero = params.zero_point
    if params.axis is not None:
        zero = zero.reshape([-1 if axis == channel_axis else 1 for axis in range(constant.values.ndim)])
    levels = constant.values.astype(np.int32) - zero
    if levels.size and (levels.min() < LEAST or levels.max() > GREATEST):
        raise refused(op, f"its weights {constant.name!r} have a zero point that int8 cannot shift away", "quantise weights symmetrically")
    others = tuple(axis for axis in range(levels.ndim) if axis != channel_axis)
    if np.any(np.count_nonzero(levels == LEAST, axis=others) > 1):
        raise refused(
            op,
            f"a channel of {constant.name!r} has more than one weight of -128, which int8 kernels may overflow on",
            "quantise weights to -127..127",
        )
    return levels.astype(np.int8)


def refused(op: QdqOp, why: str, mend: str) -> ArtefactError:
    """The error for an operator that TFLite cannot compute exactly."""
    return ArtefactError(f"{op.op_type} {op.name!r} cannot be written as TFLite: {why}", mend=mend)


def _check(tensor: QdqTensor) -> None:
    if not tensor.per_tensor:
        raise ArtefactError(f"the activation {tensor.name!r} has a scale for each channel", mend="use one scale an activation")
    if tensor.params.dtype not in _CARRIERS:
        raise ArtefactError(
            f"the activation {tensor.name!r} is stored in {tensor.params.dtype}, and TFLite is written with int8 activations",
            mend="quantise activations to 8 bits or fewer",
        )


def _shifted(tensor: QdqTensor, shift: int) -> Carrier:
    return Carrier(shift, tensor.zero_point + shift, tensor.low + shift, tensor.high + shift)


def _groups(graph: QdqGraph) -> dict[str, str]:
    """Union-find: tensors that operators without a rescale of their own tie together."""
    parent: dict[str, str] = {}
    for op in graph.ops:
        for operand in op.inputs:
            tied = isinstance(operand, QdqTensor) and op.op_type in MOVES | _POOLS and same_grid(operand.params, op.output.params)
            if tied:
                parent[_root(parent, operand.name)] = _root(parent, op.output.name)  # type: ignore[union-attr]
    return parent


def _root(parent: Mapping[str, str], name: str) -> str:
    while parent.get(name, name) != name:
        name = parent[name]
    return name
