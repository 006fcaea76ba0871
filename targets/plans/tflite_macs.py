"""How often each operator of a TFLite file multiplies and adds for one sample."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeq.targets.plans.tflite_loops import trips

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgeq.formats.tflite_file import FileGraph, FileOperator

_WITH_BODY = {
    "WHILE": ("bodySubgraphIndex",),
    "CALL": ("subgraph",),
    "IF": ("thenSubgraphIndex", "elseSubgraphIndex"),
}
_UNTOLD = frozenset(
    (
        "CUSTOM",
        "STABLEHLO_COMPOSITE",
        "STABLEHLO_CONVOLUTION",
        "STABLEHLO_DOT_GENERAL",
        "STABLEHLO_WHILE",
    )
)
_LSTM = range(1, 9)  # the matrices of a cell, from the input and from the state, one a gate
_LSTM_REST = (9, 10, 11, 16)  # what looks at the cell, a vector a gate; and the projection
_BACKWARD = 17  # from a forward cell's operands to the backward one's
_AUXILIARY = range(40, 48)
_WEIGHTS: Mapping[str, Sequence[int]] = {
    "LSTM": (*_LSTM, *_LSTM_REST),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (*_LSTM, *_LSTM_REST),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (
        *(i + d for d in (0, _BACKWARD) for i in (*_LSTM, *_LSTM_REST)),
        *_AUXILIARY,
    ),
    "RNN": (1, 2),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2),
    "BIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 5, 6, 10, 11),
    "SVDF": (1, 2),
}
"""The operands of recurrent operators whose numbers are multiplied once a row of the input."""


def macs_of(operator: FileOperator, graphs: Sequence[FileGraph]) -> int | None:
    """The MACs of an operator for one sample; 0 for operators that hardly multiply.

    Args:
        operator: the operator.
        graphs: all subgraphs of the file.

    Returns:
        None where the file does not tell: of custom operators, and of loops and branches that may
        multiply.
    """
    if operator.name in _UNTOLD:
        return None
    if operator.name in _WITH_BODY:
        return _of_bodies(operator, graphs)
    if operator.name in _WEIGHTS:
        return _rows(operator) * sum(_size(operator, i) for i in _weights(operator))
    count = _COUNTS.get(operator.name)
    return 0 if count is None or not operator.outputs else count(operator)


def bodies_of(operator: FileOperator, graphs: Sequence[FileGraph]) -> tuple[FileGraph, ...]:
    """The subgraphs that an operator runs; none for all but control flow."""
    return tuple(
        graphs[int(getattr(operator.options, name))] for name in _WITH_BODY.get(operator.name, ())
    )


def _of_bodies(operator: FileOperator, graphs: Sequence[FileGraph]) -> int | None:
    bodies = [
        [macs_of(inner, graphs) for inner in body.operators] for body in bodies_of(operator, graphs)
    ]
    if any(macs is None for body in bodies for macs in body):
        return None
    once = {sum(macs or 0 for macs in body) for body in bodies}
    if once == {0}:
        return 0
    times = trips(operator, graphs) if operator.name == "WHILE" else 1
    return None if len(once) > 1 or times is None else times * once.pop()


def _weights(operator: FileOperator) -> Sequence[int]:
    """A basic LSTM has all its matrices in one."""
    basic = operator.name == "LSTM" and int(getattr(operator.options, "kernelType", 0) or 0) == 1
    return (2,) if basic else _WEIGHTS[operator.name]


def _rows(operator: FileOperator) -> int:
    return math.prod(_shape(operator, 0)[:-1])


def _shape(operator: FileOperator, position: int) -> tuple[int, ...]:
    tensor = operator.inputs[position] if position < len(operator.inputs) else None
    return () if tensor is None else tensor.shape


def _size(operator: FileOperator, position: int) -> int:
    shape = _shape(operator, position)
    return math.prod(shape) if shape else 0


def _result(operator: FileOperator) -> int:
    return math.prod(operator.outputs[0].shape)


def _product(operator: FileOperator) -> int:
    return _result(operator) * _shape(operator, 0)[-2 if operator.options.adjX else -1]


_COUNTS: Mapping[str, Callable[[FileOperator], int]] = {
    "CONV_2D": lambda op: _result(op) * math.prod(_shape(op, 1)[1:]),
    "DEPTHWISE_CONV_2D": lambda op: _result(op) * math.prod(_shape(op, 1)[1:3]),
    "CONV_3D": lambda op: _result(op) * math.prod(_shape(op, 1)[:4]),
    "CONV_3D_TRANSPOSE": lambda op: _size(op, 2) * math.prod(_shape(op, 1)[:4]),
    "TRANSPOSE_CONV": lambda op: _size(op, 2) * math.prod(_shape(op, 1)[:3]),
    "FULLY_CONNECTED": lambda op: _result(op) * _shape(op, 1)[-1],
    "BATCH_MATMUL": _product,
}
