"""The scale-parity report.

The numbers that a QDQ model means against the numbers that a written file holds.

Both sides are lists of the same small record, so any pair of formats is compared by the one
function here. What a file holds is read from its bytes by code that shares nothing with the code
that wrote them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgeq.brief import brief
from edgeq.exporter import ParityReport
from edgeq.qdq.ir import QdqConstant, QdqTensor
from edgeq.qdq.op_traits import LAYERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.qdq.ir import QdqGraph, QdqOp

NumbersKind = Literal["weight", "bias", "activation"]

_LINES_A_TENSOR = 8


@dataclass(frozen=True, slots=True, eq=False)
class TensorNumbers:
    """The numbers of one tensor.

    Attributes:
        key: what both sides call it: a tensor's name, or an operator's output's name, ``/`` and the
            operand's role.
        kind: what it is.
        scale: (1,) or (channels,), float32.
        zero_point: the shape of ``scale``.
        centered: integers less their zero point, in the ONNX layout, of whatever width holds them;
            None for what is computed at run time.
    """

    key: str
    kind: NumbersKind
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    centered: NDArray[np.generic] | None = None

    __repr__ = brief


def numbers_of(graph: QdqGraph) -> list[TensorNumbers]:
    """Every number of a QDQ model.

    A Transpose has none of its own: what it writes are its input's.
    """
    transposed = {op.output.name for op in graph.ops if op.op_type == "Transpose"}
    found = [
        _activation(tensor)
        for name, tensor in graph.tensors().items()
        if name not in transposed and not tensor.is_float and not tensor.is_index
    ]
    return found + [numbers for op in graph.ops for numbers in _constants(op)]


def compare(expected: Sequence[TensorNumbers], found: Mapping[str, TensorNumbers]) -> ParityReport:
    """Compare number by number; scales bit for bit.

    Args:
        expected: what the model means.
        found: what the file holds, by key.
    """
    counts = {"weight": 0, "bias": 0, "activation": 0}
    scales = zero_points = 0
    lines: list[str] = []
    for numbers in expected:
        other = found.get(numbers.key)
        if other is None:
            lines.append(f"{numbers.key}: {numbers.kind} is not in the file")
            continue
        if numbers.centered is not None:
            counts[numbers.kind] += numbers.centered.size
            lines += _differences(numbers, "integer", numbers.centered, other.centered)
        scales += numbers.scale.size
        zero_points += numbers.zero_point.size
        lines += _differences(numbers, "scale", numbers.scale.view(np.uint32), _bits(other.scale))
        lines += _differences(numbers, "zero point", numbers.zero_point, other.zero_point)
    return ParityReport(counts["weight"], counts["bias"], scales, zero_points, tuple(lines))


def _bits(scale: NDArray[np.float32]) -> NDArray[np.uint32]:
    return np.ascontiguousarray(scale, np.float32).view(np.uint32)


def _differences(
    numbers: TensorNumbers,
    what: str,
    expected: NDArray[np.generic],
    found: NDArray[np.generic] | None,
) -> list[str]:
    name = f"{numbers.key}: {numbers.kind} {what}"
    if found is None or found.shape != expected.shape:
        shape = "none" if found is None else str(found.shape)
        return [f"{name}s have the shape {shape} in the file, not {expected.shape}"]
    where = np.argwhere(expected != found)
    lines = [
        f"{name} {_at(place)}is {_shown(expected, place, what)}, in the file "
        f"{_shown(found, place, what)}"
        for place in where[:_LINES_A_TENSOR]
    ]
    return lines + (
        [f"{name}: {len(where) - _LINES_A_TENSOR} more differ"]
        if len(where) > _LINES_A_TENSOR
        else []
    )


def _shown(numbers: NDArray[np.generic], place: NDArray[np.int64], what: str) -> str:
    return str((numbers.view(np.float32) if what == "scale" else numbers)[tuple(place)])


def _at(place: NDArray[np.int64]) -> str:
    return (
        f"at {tuple(int(i) for i in place)} " if place.size > 1 or (place.size and place[0]) else ""
    )


def _activation(tensor: QdqTensor) -> TensorNumbers:
    return TensorNumbers(
        tensor.name,
        "activation",
        np.atleast_1d(tensor.params.scale),
        np.atleast_1d(tensor.params.zero_point).astype(np.int64),
    )


def _constants(op: QdqOp) -> Iterator[TensorNumbers]:
    for position, operand in enumerate(op.inputs):
        if isinstance(operand, QdqConstant) and operand.params is not None:
            bias = position == 2 and op.op_type in LAYERS
            yield constant_numbers(
                f"{op.output.name}/{position}", "bias" if bias else "weight", operand
            )


def constant_numbers(key: str, kind: NumbersKind, constant: QdqConstant) -> TensorNumbers:
    """The numbers of a constant operand that lies on a grid."""
    params = constant.params
    assert params is not None  # noqa: S101  # the caller asks only for quantised constants
    scale, zero = np.atleast_1d(params.scale), np.atleast_1d(params.zero_point).astype(np.int64)
    _, shaped = params.broadcast(constant.values.ndim)
    centered = centered_of(constant.values, shaped.astype(np.int64))
    return TensorNumbers(key, kind, scale, zero, centered)


def centered_of(
    values: NDArray[np.generic], zero_point: NDArray[np.int64] | np.int64
) -> NDArray[np.generic]:
    """Integers less their zero point.

    The very array where that is 0, as weights are most of a model's memory.
    """
    return values.astype(np.int64) - zero_point if np.any(zero_point) else values
