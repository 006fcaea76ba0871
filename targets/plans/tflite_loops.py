"""How often a loop of a TFLite file runs, where it counts to a constant.

Loops over the steps of a sequence do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.formats.tflite_file import FileGraph, FileOperator, FileTensor

_MOVES = frozenset(("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "CAST"))


def trips(loop: FileOperator, graphs: Sequence[FileGraph]) -> int | None:
    """How often a WHILE runs its body; None where that is not to be told without running it.

    Args:
        loop: the operator.
        graphs: all subgraphs of the file.
    """
    condition, body = (
        graphs[int(getattr(loop.options, name))]
        for name in ("condSubgraphIndex", "bodySubgraphIndex")
    )
    limits = _compared(condition.outputs[0], condition)
    if not limits:
        return None
    counted = [_counted(loop, condition, body, less) for less in limits]
    return (
        None
        if any(one is None for one in counted)
        else min(one for one in counted if one is not None)
    )


def _compared(value: FileTensor, condition: FileGraph) -> list[FileOperator]:
    """The comparisons that have to hold for another round; empty where it is anything else."""
    maker = _maker(value, condition)
    if maker is None or maker.inputs[0] is None:
        return []
    if maker.name == "LESS":
        return [maker]
    if maker.name in _MOVES:
        return _compared(maker.inputs[0], condition)
    if maker.name != "LOGICAL_AND" or maker.inputs[1] is None:
        return []
    both = [_compared(operand, condition) for operand in maker.inputs if operand is not None]
    return [one for side in both for one in side] if all(both) else []


def _counted(
    loop: FileOperator, condition: FileGraph, body: FileGraph, less: FileOperator
) -> int | None:
    """The rounds until a counter reaches its limit."""
    counter, limit = less.inputs
    places = [i for i, tensor in enumerate(condition.inputs) if tensor is counter]
    start = loop.inputs[places[0]] if places else None
    end = (
        None
        if limit is None
        else _number(limit)
        if limit not in condition.inputs
        else _carried(loop, condition, body, limit)
    )
    step = _step(body, places[0]) if places else None
    first = None if start is None else _number(start)
    if first is None or end is None or not step or step < 0:
        return None
    return max(0, -(-(end - first) // step))


def _carried(
    loop: FileOperator, condition: FileGraph, body: FileGraph, limit: FileTensor
) -> int | None:
    """A limit that goes into the loop and through its body as it is."""
    place = condition.inputs.index(limit)
    start = loop.inputs[place]
    return (
        _number(start) if start is not None and body.outputs[place] is body.inputs[place] else None
    )


def _step(body: FileGraph, place: int) -> int | None:
    """What a round adds to a counter."""
    added = _maker(body.outputs[place], body)
    if added is None or added.name != "ADD":
        return None
    others = [operand for operand in added.inputs if operand is not body.inputs[place]]
    return _number(others[0]) if len(others) == 1 and others[0] is not None else None


def _maker(value: FileTensor, graph: FileGraph) -> FileOperator | None:
    return next((operator for operator in graph.operators if value in operator.outputs), None)


def _number(tensor: FileTensor) -> int | None:
    """A constant of one whole number."""
    whole = (
        tensor.data is not None
        and tensor.data.size == 1
        and np.issubdtype(tensor.data.dtype, np.integer)
    )
    return int(np.ravel(tensor.data)[0]) if whole and tensor.data is not None else None
