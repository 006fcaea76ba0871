"""SPLIT and SPLIT_V as a SLICE for each of their results."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgeq.formats.tflite_file import FileOperator, FileTensor

_VALUE = {"SPLIT": 1, "SPLIT_V": 0}
_AXIS = {"SPLIT": 0, "SPLIT_V": 2}


def one_result_each(operator: FileOperator) -> tuple[FileOperator, ...]:
    """The operators of one result that an operator is; itself where it is one, or none is known."""
    if operator.name not in _VALUE or len(operator.inputs) <= _AXIS[operator.name]:
        return (operator,)
    value, axes = (operator.inputs[table[operator.name]] for table in (_VALUE, _AXIS))
    if value is None or axes is None or axes.data is None or axes.data.size != 1:
        return (operator,)
    axis, start, found = int(axes.data.item()) % len(value.shape), 0, []
    for result in operator.outputs:
        begin = [start if place == axis else 0 for place in range(len(value.shape))]
        inputs = (value, _numbers(result, begin), _numbers(result, result.shape))
        found.append(replace(operator, name="SLICE", inputs=inputs, outputs=(result,)))
        start += result.shape[axis]
    return tuple(found)


def _numbers(like: FileTensor, values: tuple[int, ...] | list[int]) -> FileTensor:
    """A constant list of whole numbers, which no step reads."""
    none = np.zeros(0)
    return replace(
        like,
        index=-1,
        kind="INT32",
        shape=(len(values),),
        scale=none.astype(np.float32),
        zero_point=none.astype(np.int64),
        data=np.array(values, np.int32),
    )
