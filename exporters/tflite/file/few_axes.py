"""Operators that move integers of tensors of more axes than their kernels take.

RESHAPEs before and after show them the same elements with fewer axes, which moves nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.exporters.tflite.file.transposing import turns
from edgeq.formats.tflite_schema import schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeq.exporters.tflite.file.builder import Builder


@dataclass(frozen=True, slots=True)
class AxisView:
    """One axis of a tensor, between all before and all behind it.

    Attributes:
        axis: which it is.
        source: the index of what an operator reads.
        target: the index of what it writes.
        shape: of the source: (before, the axis, behind).
    """

    axis: int
    source: int
    target: int
    shape: tuple[int, int, int]


def fits(builder: Builder, operator: str, rank: int) -> bool:
    """Whether an operator takes as many axes in the file's runtime."""
    return rank <= builder.dialect.most_axes(operator)


def transpose(
    builder: Builder, source: int, target: int, shape: Sequence[int], perm: Sequence[int]
) -> int:
    """Append a TRANSPOSE, or RESHAPEs around several where it has more axes than one takes.

    Returns how many it takes.

    Args:
        builder: the file.
        source: the index of what is transposed.
        target: the index of the result.
        shape: of the source.
        perm: the axis of the source that each axis of the result is.
    """
    if fits(builder, "TRANSPOSE", len(perm)):
        _turn(builder, source, target, perm)
        return 1
    sizes = builder.open_sizes(shape)
    most = builder.dialect.most_axes("TRANSPOSE")
    parts = turns(sizes, perm, most)
    for count, turn in enumerate(parts):
        seen = _part(builder, target, f"~merged{count}", turn.shape)
        turned = _part(builder, target, f"~turned{count}", turn.result)
        builder.reshape(source, seen, turn.shape)
        _turn(builder, seen, turned, turn.perm)
        source = turned
    builder.reshape(source, target, [sizes[axis] for axis in perm])
    return len(parts)


def axis_by_axis(
    builder: Builder,
    source: int,
    target: int,
    shape: Sequence[int],
    results: Mapping[int, int],
) -> Iterator[AxisView]:
    """Where an operator is to be appended that changes one axis, then another.

    Args:
        builder: the file.
        source: the index of what is changed.
        target: the index of the result.
        shape: of the source.
        results: the size that each axis gets.
    """
    sizes = builder.open_sizes(shape)
    for axis, result in results.items():
        before, behind = math.prod(sizes[:axis]), math.prod(sizes[axis + 1 :])
        seen = _part(builder, target, f"~axis{axis}", (before, sizes[axis], behind))
        changed = _part(builder, target, f"~changed{axis}", (before, result, behind))
        builder.reshape(source, seen, (before, sizes[axis], behind))
        yield AxisView(axis, seen, changed, (abs(before), abs(sizes[axis]), abs(behind)))
        sizes[axis], source = result, changed
    builder.reshape(source, target, sizes)


def _part(builder: Builder, like: int, suffix: str, sizes: Sequence[int]) -> int:
    return builder.like(like, f"{builder.name(like)}{suffix}", [abs(size) for size in sizes])


def _turn(builder: Builder, source: int, target: int, perm: Sequence[int]) -> None:
    axes = builder.numbers(perm)
    builder.operator(
        schema.BuiltinOperator.TRANSPOSE, 2, [source, axes], [target], schema.TransposeOptionsT()
    )
