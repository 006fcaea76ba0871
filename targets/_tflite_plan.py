"""Which operators of a TFLite file run in integers, and which a delegate took, read from the allocated interpreter."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.plan import Plan, PlannedOp, called

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from edgeq.plan import Arithmetic, Place

    Detail = Mapping[str, Any]

QUIET = frozenset(("QUANTIZE", "DEQUANTIZE", "DELEGATE"))
_WINDOWED = ("CONV_2D", "DEPTHWISE_CONV_2D")
_INTEGERS = (np.int8, np.uint8, np.int16)


def plan_of(operators: Sequence[Detail], tensors: Sequence[Detail], taken: Collection[int], *, delegate: bool) -> Plan:
    """What an interpreter does with a model.

    Args:
        operators: its operators, as the interpreter lists them.
        tensors: its tensors, likewise.
        taken: the operators that a delegate took, by index.
        delegate: whether a delegate was to take them all.
    """
    by_index = {int(tensor["index"]): tensor for tensor in tensors}
    own = [op for op in operators if op["op_name"] not in QUIET]
    ops = tuple(_planned(op, by_index, op["index"] in taken, delegate=delegate) for op in own)
    moved = [op for op in own if op["op_name"] == "TRANSPOSE"]
    return Plan(ops, len(moved), sum(_bytes(by_index[int(op["outputs"][0])]) for op in moved))


def _planned(op: Detail, tensors: Mapping[int, Detail], taken: bool, *, delegate: bool) -> PlannedOp:
    kind = str(op["op_name"])
    inputs = [tensors[int(index)] for index in op["inputs"] if index in tensors]
    outputs = [tensors[int(index)] for index in op["outputs"] if index in tensors]
    why = _why_float(inputs, outputs)
    arithmetic: Arithmetic = "float" if why else "integer"
    place: Place = "delegate" if taken else "fallback" if delegate else "target"
    if place == "fallback" and not why:
        why = f"the delegate does not take this {kind}"
    return PlannedOp(str(outputs[0]["name"]), kind, kind, arithmetic, place, macs_of(kind, inputs, outputs), why)


def _why_float(inputs: Sequence[Detail], outputs: Sequence[Detail]) -> str:
    """The first tensor in float that an operator computes with; empty where there is none."""
    for role, tensor in [("input", tensor) for tensor in inputs] + [("output", tensor) for tensor in outputs]:
        if tensor["dtype"] in (np.float32, np.float16):
            stored = any(other["dtype"] in _INTEGERS for other in inputs)
            hybrid = ", and its integer weights are widened as it runs" if stored else ""
            return f"its {role} {called(tensor['name'])} is in float{hybrid}"
    return ""


def macs_of(kind: str, inputs: Sequence[Detail], outputs: Sequence[Detail]) -> int:
    """Multiplications with addition of an operator for one sample; 0 for operators that have none to speak of."""
    shapes = [tuple(int(size) for size in tensor["shape"]) for tensor in inputs]
    result = math.prod(int(size) for size in outputs[0]["shape"])
    if kind in _WINDOWED and len(shapes) > 1:
        _, height, width, depth = shapes[1]
        return result * height * width * (depth if kind == "CONV_2D" else 1)
    if kind == "FULLY_CONNECTED" and len(shapes) > 1:
        return result * shapes[1][-1]
    if kind == "BATCH_MATMUL" and shapes:
        return result * shapes[0][-1]
    if kind == "TRANSPOSE_CONV" and len(shapes) > 2:
        return math.prod(shapes[2]) * math.prod(shapes[1][:3])
    return 0


def _bytes(tensor: Detail) -> int:
    return math.prod(int(size) for size in tensor["shape"]) * int(np.dtype(tensor["dtype"]).itemsize)
