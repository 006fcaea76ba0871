"""Which operators of a TFLite file run in integers, and which a delegate or a compiler took."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.plan import HYBRID_WHY, Plan, PlannedOp, called
from edgeq.targets.plans.tflite_macs import bodies_of, macs_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from edgeq.formats.tflite_file import FileGraph, FileOperator, FileTensor
    from edgeq.plan import Arithmetic, Place

_QUIET = frozenset(("QUANTIZE", "DEQUANTIZE"))
_FLOATS = frozenset(("FLOAT16", "BFLOAT16", "FLOAT32", "FLOAT64"))
_STORED_AS = {"INT4": "int8", "UINT4": "uint8", "INT2": "int8"}
_WEIGHTS = frozenset(("INT2", "INT4", "INT8", "UINT8"))
_HYBRID: Mapping[str, int] = {
    "BATCH_MATMUL": 1,
    "BIDIRECTIONAL_SEQUENCE_LSTM": 2,
    "BIDIRECTIONAL_SEQUENCE_RNN": 1,
    "CONV_2D": 1,
    "DEPTHWISE_CONV_2D": 1,
    "FULLY_CONNECTED": 1,
    "LSTM": 2,
    "RNN": 1,
    "SVDF": 1,
    "TRANSPOSE_CONV": 1,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 2,
    "UNIDIRECTIONAL_SEQUENCE_RNN": 1,
}
"""Operators that quantise float activations as they run, and the position of their weights."""


def plan_of(graphs: Sequence[FileGraph], taken: Collection[int], *, delegate: bool) -> Plan:
    """What a runtime does with a file.

    Args:
        graphs: the subgraphs of the file.
        taken: the operators that a delegate took, by number.
        delegate: whether a delegate was to take them all.
    """
    own = [operator for operator in graphs[0].operators if operator.name not in _QUIET]
    ops = tuple(
        _planned(operator, graphs, operator.index in taken, delegate=delegate) for operator in own
    )
    moved = [operator for operator in own if operator.name == "TRANSPOSE"]
    return Plan(ops, len(moved), sum(_bytes(operator.output) for operator in moved))


def compiled_plan(graphs: Sequence[FileGraph], left: Mapping[int, str], *, kernel: str) -> Plan:
    """The plan of a file that a compiler took all but some operators of.

    Args:
        graphs: the subgraphs of the file.
        left: the operators that it did not take, by number, and why.
        kernel: what runs those that it took.
    """
    operators = graphs[0].operators
    plan = plan_of(
        graphs,
        [operator.index for operator in operators if operator.index not in left],
        delegate=True,
    )
    shown = [operator.index for operator in operators if operator.name not in _QUIET]
    ops = (
        replace(op, why=left[i]) if i in left else replace(op, kernel=kernel)
        for i, op in zip(shown, plan.ops, strict=True)
    )
    return replace(plan, ops=tuple(ops))


def _planned(
    operator: FileOperator, graphs: Sequence[FileGraph], taken: bool, *, delegate: bool
) -> PlannedOp:
    kind = operator.name
    arithmetic, why = _arithmetic(operator, graphs)
    place: Place = "delegate" if taken else "fallback" if delegate else "target"
    if place == "fallback" and not why:
        why = f"the delegate does not take this {kind}"
    return PlannedOp(operator.title, kind, kind, arithmetic, place, macs_of(operator, graphs), why)


def _arithmetic(operator: FileOperator, graphs: Sequence[FileGraph]) -> tuple[Arithmetic, str]:
    """The numbers that an operator computes with, and what keeps it out of integers.

    Empty where nothing does.
    """
    inner = [
        (other, *_arithmetic(other, graphs))
        for body in bodies_of(operator, graphs)
        for other in body.operators
    ]
    multiplying = [found for found in inner if macs_of(found[0], graphs) != 0]
    for other, arithmetic, why in multiplying:
        if arithmetic == "float":
            return "float", f"{other.name} inside of it: {why}"
    if multiplying:
        return (
            "hybrid"
            if any(arithmetic == "hybrid" for _, arithmetic, _ in multiplying)
            else "integer"
        ), ""
    why = _why_float(operator)
    if why and _is_hybrid(operator):
        return "hybrid", HYBRID_WHY
    return ("float" if why else "integer"), why


def _is_hybrid(operator: FileOperator) -> bool:
    weights = operator.inputs[_HYBRID[operator.name]] if operator.name in _HYBRID else None
    return weights is not None and weights.kind in _WEIGHTS


def _why_float(operator: FileOperator) -> str:
    """The first tensor in float that an operator computes with; empty where there is none."""
    present = (("input", tensor) for tensor in operator.inputs if tensor is not None)
    for role, tensor in (*present, *(("output", tensor) for tensor in operator.outputs)):
        if tensor.kind in _FLOATS:
            return f"its {role} {called(tensor.name)} is in float"
    return ""


def _bytes(tensor: FileTensor) -> int:
    # bytes for kinds that are no numbers
    element: Any = getattr(np, _STORED_AS.get(tensor.kind, tensor.kind.lower()), np.uint8)
    return math.prod(tensor.shape) * int(np.dtype(element).itemsize)
