"""The plan of a TFLite file on runtimes that tell nothing of its operators: those that run it as it stands, and compilers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.targets._tflite_plan import QUIET, plan_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.plan import Plan
    from edgeq.tflite_file import FileGraph, FileTensor

_STORED_AS = {"INT4": "int8", "UINT4": "uint8"}


def plain_plan(graph: FileGraph) -> Plan:
    """The plan of a file that runs as it stands.

    Args:
        graph: the file.
    """
    return plan_of(_operators(graph), _tensors(graph), (), delegate=False)


def delegated_plan(graph: FileGraph, left: Mapping[int, str], *, kernel: str) -> Plan:
    """The plan of a file that a compiler took all but some operators of.

    Args:
        graph: the file.
        left: the operators that it did not take, by number, and why.
        kernel: what runs those that it took.
    """
    taken = set(range(len(graph.operators))) - left.keys()
    plan = plan_of(_operators(graph), _tensors(graph), taken, delegate=True)
    shown = [i for i, operator in enumerate(graph.operators) if operator.name not in QUIET]
    ops = (replace(op, why=left[i]) if i in left else replace(op, kernel=kernel) for i, op in zip(shown, plan.ops, strict=True))
    return replace(plan, ops=tuple(ops))


def _operators(graph: FileGraph) -> list[dict[str, Any]]:
    return [
        {
            "index": i,
            "op_name": operator.name,
            "inputs": [tensor.index for tensor in operator.inputs if tensor is not None],
            "outputs": [tensor.index for tensor in operator.outputs],
        }
        for i, operator in enumerate(graph.operators)
    ]


def _tensors(graph: FileGraph) -> list[dict[str, Any]]:
    found = {tensor.index: tensor for op in graph.operators for tensor in (*op.inputs, *op.outputs) if tensor is not None}
    return [{"index": i, "name": tensor.name, "shape": tensor.shape, "dtype": _dtype(tensor)} for i, tensor in found.items()]


def _dtype(tensor: FileTensor) -> Any:
    """The scalar type of a tensor's elements; bytes for kinds that are no numbers."""
    return getattr(np, _STORED_AS.get(tensor.kind, tensor.kind.lower()), np.uint8)
