"""The int8 or int16 integers that stand for an ONNX tensor's integers: the same numbers, shifted.

The shift puts the largest integer in use on 127, so that int8 saturation is the upper bound and no
operator is needed for it: a 4-bit unsigned activation 0..15 with zero point 0 becomes 112..127 with
zero point 112, and a fused ReLU is its lower bound. Operators that only move integers need one
shift on both sides. int16 kernels know no zero point but 0, so 16-bit tensors are shifted by what
brings theirs there, or not written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.qdq.ir import QdqConstant, QdqTensor, output_range, same_grid
from edgeq.qdq.op_traits import traits_of
from edgeq.quant import STORAGE_RANGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeq.qdq.ir import QdqGraph, QdqOp

IN_FLOAT_HINT = "keep it in float with --allow-float"
"""What is advised for an operator that TFLite has in float only."""

MIN_INT8, MAX_INT8 = -128, 127
_STORAGE_DTYPES = frozenset(("int2", "uint2", "int4", "uint4", "int8", "uint8"))
_WIDE = frozenset(("int16", "uint16"))
_EVERYTHING = 2**31 - 1
_OR = ", or approximate with --requantize"
_HALF_OF_16_BITS = 2**15

StorageDtype = Literal["int8", "int16", "int32"]


@dataclass(frozen=True, slots=True)
class Storage:
    """How a tensor is held in int8 or int16; whole numbers that pick rows in int32.

    Attributes:
        shift: what is added to the ONNX integers.
        zero_point: the integer that stands for zero.
        low: the smallest integer that may occur.
        high: the largest integer that may occur.
        dtype: the element type.
    """

    shift: int
    zero_point: int
    low: int
    high: int
    dtype: StorageDtype = "int8"

    @property
    def smallest(self) -> int:
        """The smallest integer that the element type holds."""
        return STORAGE_RANGE[self.dtype][0]

    @property
    def largest(self) -> int:
        """The largest integer that the element type holds, where it saturates."""
        return STORAGE_RANGE[self.dtype][1]


def choose_storage(graph: QdqGraph) -> dict[str, Storage]:
    """The storage dtype of every tensor of a graph, by name.

    Raises:
        ArtefactError: a tensor has more than 16 bits, 16 bits around another number than zero, or
            more than one scale.
    """
    tensors = graph.tensors()
    for tensor in tensors.values():
        if not tensor.is_float and not tensor.is_index:
            _check(tensor)
    group = _groups(graph)
    top: dict[str, int] = {}
    for tensor in tensors.values():
        root = _root(group, tensor.name)
        top[root] = max(top.get(root, tensor.zero_point), tensor.high)
    return {name: _shifted(tensor, top[_root(group, name)]) for name, tensor in tensors.items()}


def clamps(op: QdqOp, storage: Storage) -> tuple[int | None, int | None]:
    """The bounds of an output that neither its inputs nor saturation see to."""
    open_range = replace(op.output.params, qmin=-_EVERYTHING, qmax=_EVERYTHING)
    low, high = output_range(op.op_type, op.inputs, open_range)
    needs_low = max(low + storage.shift, storage.smallest) < storage.low
    needs_high = min(high + storage.shift, storage.largest) > storage.high
    return storage.low if needs_low else None, storage.high if needs_high else None


def check_rescale(op: QdqOp, largest: int, factor: float) -> None:
    """See that kernels can rescale integers up to ``largest`` by ``factor``.

    They shift left first, in 32 bits.

    Raises:
        ArtefactError: they cannot; what they would compute is not what the model says.
    """
    shift = max(math.frexp(factor)[1], 0)
    if largest << shift > _EVERYTHING:
        raise refused(
            op,
            f"its result is rescaled by {factor:.3g}, beyond 32 bits",
            "quantise its output with a larger scale",
        )


def constant_shift(constant: QdqConstant, storage: Storage) -> int:
    """What is added to the integers of a constant operand beside tensors in ``storage``."""
    if constant.params is None:
        return 0
    if storage.dtype == "int16":
        return -int(constant.params.zero_point)
    return -128 if constant.params.dtype == "uint8" else 0


def int8_weights(op: QdqOp, constant: QdqConstant, channel_axis: int) -> NDArray[np.int8]:
    """Weights with zero point 0, as TFLite wants them; see :func:`centered_weights`."""
    return centered_weights(op, constant, channel_axis).astype(np.int8, copy=False)


def centered_weights(
    op: QdqOp, constant: QdqConstant, channel_axis: int
) -> NDArray[np.signedinteger]:
    """The integers of weights less their zero point, which int8 holds.

    One -128 a channel is let through: kernels that add two products in 16 bits, as those for Arm
    cores without dot-product instructions do, overflow only when two of them meet inputs of -128.

    Args:
        op: the operator, for messages.
        constant: its weights.
        channel_axis: the axis of the output channels.

    Raises:
        ArtefactError: the weights do not fit, or their scales follow another axis.
    """
    params = constant.params
    if params is None:
        raise refused(
            op,
            f"its weights {constant.name!r} are in float",
            f"store integer weights behind a DequantizeLinear{_OR}",
        )
    if params.axis is not None and params.axis % constant.values.ndim != channel_axis:
        raise refused(
            op,
            "its weight scales do not follow the output channels",
            f"use one scale a tensor or an output channel{_OR}",
        )
    symmetric = constant.values.dtype == np.int8 and not np.any(params.zero_point)
    centered: NDArray[np.signedinteger] = (
        constant.values.astype(np.int8, copy=False) if symmetric else constant.centered()
    )
    if centered.size and (centered.min() < MIN_INT8 or centered.max() > MAX_INT8):
        raise refused(
            op,
            f"its weights {constant.name!r} have a zero point that int8 cannot shift away",
            f"quantise weights symmetrically{_OR}",
        )
    others = tuple(axis for axis in range(centered.ndim) if axis != channel_axis)
    if np.any(np.count_nonzero(centered == MIN_INT8, axis=others) > 1):
        raise refused(
            op,
            f"a channel of {constant.name!r} has more than one weight of -128, which int8 "
            "kernels may overflow on",
            f"quantise weights to -127..127{_OR}",
        )
    return centered


def activation(op: QdqOp, position: int = 0) -> QdqTensor:
    """An input that has to be an activation.

    Raises:
        ArtefactError: it is a constant, or absent.
    """
    operand = op.inputs[position] if position < len(op.inputs) else None
    if not isinstance(operand, QdqTensor):
        raise refused(
            op,
            f"its input number {position} is no quantised activation",
            "fold constants before exporting",
        )
    return operand


def refused(op: QdqOp, why: str, hint: str) -> ArtefactError:
    """The error for an operator that TFLite cannot compute exactly."""
    return ArtefactError(f"{op.op_type} {op.name!r} cannot be written as TFLite: {why}", hint=hint)


def _check(tensor: QdqTensor) -> None:
    if not tensor.per_tensor:
        raise ArtefactError(
            f"the activation {tensor.name!r} has a scale for each channel",
            hint="use one scale an activation",
        )
    dtype = tensor.params.dtype
    if dtype not in _STORAGE_DTYPES | _WIDE:
        raise ArtefactError(
            f"the activation {tensor.name!r} is stored in {dtype}, and TFLite is written "
            "with int8 or int16 activations",
            hint="quantise activations to 16 bits or fewer",
        )
    if dtype in _WIDE and tensor.zero_point != (0 if dtype == "int16" else _HALF_OF_16_BITS):
        raise ArtefactError(
            f"the 16-bit activation {tensor.name!r} has the zero point "
            f"{tensor.zero_point}, and TFLite's int16 has none but 0",
            hint="quantise 16-bit activations symmetrically",
        )


def _shifted(tensor: QdqTensor, top: int) -> Storage:
    """The storage dtype of a tensor in whose group nothing exceeds ``top``."""
    if tensor.is_index:
        return Storage(0, 0, tensor.low, tensor.high, "int32")
    dtype: StorageDtype = "int16" if tensor.params.dtype in _WIDE else "int8"
    shift = -tensor.zero_point if dtype == "int16" else MAX_INT8 - top
    return Storage(shift, tensor.zero_point + shift, tensor.low + shift, tensor.high + shift, dtype)


def _groups(graph: QdqGraph) -> dict[str, str]:
    """Union-find: tensors that operators without a rescale of their own tie together."""
    parent: dict[str, str] = {}
    for op in graph.ops:
        for operand in op.inputs:
            if (
                isinstance(operand, QdqTensor)
                and traits_of(op.op_type).keeps_range
                and same_grid(operand.params, op.output.params)
            ):
                parent[_root(parent, operand.name)] = _root(parent, op.output.name)
    return parent


def _root(parent: Mapping[str, str], name: str) -> str:
    while parent.get(name, name) != name:
        name = parent[name]
    return name
