"""What differs between two grids, and between what is written on one and read on another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.diffing.records import Difference, listed
from edgeq.quant import STORAGE_RANGE
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from edgeq.diffing.records import Kind
    from edgeq.linting.model import Handover, LintActivation
    from edgeq.quant import QuantParams

_SAME = 2e-7
"""Scales that differ by less are one float32 number that two tools computed differently."""


def grid_differences(
    before: LintActivation, after: LintActivation, *, alike: bool
) -> Iterator[Difference]:
    """How an activation lies on another grid.

    Args:
        before: the activation in the first file.
        after: in the second.
        alike: whether the files have one format. Otherwise integers of less than 8 bits may be
            stored anywhere in the type; then a zero point is another one where neither grid has
            room for all integers of the other.
    """
    old, new, where = before.grid, after.grid, before.name
    if _width(old) != _width(new) or (old.axis is None) != (new.axis is None):
        yield Difference("number format", where, f"{_format(old)} became {_format(new)}")
        return
    yield from scale_difference(old, new, where, "activation scale")
    steps = _moved(old, new)
    if steps and (alike or not (_has_room(old, new) or _has_room(new, old))):
        told = counted(abs(steps), "step")
        yield Difference(
            "zero point",
            where,
            f"{_zero(old)} became {_zero(new)}: the range is moved by {told}",
            steps=abs(steps),
        )
    used = [(grid.qmin - _low(grid), grid.qmax - _low(grid)) for grid in (old, new)]
    if alike and used[0] != used[1]:
        yield Difference(
            "range",
            where,
            f"integers from {old.qmin} to {old.qmax} became {new.qmin} to {new.qmax}",
            steps=max(abs(a - b) for a, b in zip(*used, strict=True)),
        )


def scale_difference(
    before: QuantParams, after: QuantParams, where: str, kind: Kind
) -> Iterator[Difference]:
    """How scales differ: by one factor, or channel by channel."""
    old, new = (np.atleast_1d(grid.scale).astype(np.float64) for grid in (before, after))
    if old.size != new.size and 1 not in (old.size, new.size):
        yield Difference(kind, where, f"{old.size} scales became {new.size}")
        return
    ratio = new / old
    channels = tuple(int(i) for i in np.flatnonzero(np.abs(ratio - 1.0) > _SAME))
    if not channels:
        return
    changed = ratio[list(channels)]
    told = (
        f"x{changed[0]:.4g}"
        if np.allclose(changed, changed[0], rtol=1e-4)
        else f"x{changed.min():.4g} to x{changed.max():.4g}"
    )
    inside = f" in {listed(channels, ratio.size)}" if ratio.size > 1 else ""
    yield Difference(
        kind,
        where,
        f"{told}{inside}",
        () if len(channels) == ratio.size else channels,
        factor=float(changed[np.abs(np.log(changed)).argmax()]),
    )


def handover_differences(
    before: Sequence[Handover], after: Sequence[Handover]
) -> Iterator[Difference]:
    """Integers that the second file reads on another grid than they were written on."""
    known = {each.node for each in before if _reads_otherwise(each)}
    for each in after:
        if not _reads_otherwise(each) or each.node in known:
            continue
        steps = _moved(each.written, each.read)
        ratio = float(np.max(each.read.scale) / np.max(each.written.scale))
        told = [f"the scale x{ratio:.4g}"] if abs(ratio - 1.0) > _SAME else []
        told += [f"the zero point {steps:+d}"] if steps else []
        yield Difference(
            "integers read on another grid",
            each.node,
            f"than they were written on: {' and '.join(told)}",
            factor=ratio if abs(ratio - 1.0) > _SAME else None,
            steps=abs(steps) or None,
        )


def _reads_otherwise(handover: Handover) -> bool:
    written, read = handover.written, handover.read
    if np.size(written.scale) != np.size(read.scale):
        return False
    ratio = np.asarray(read.scale, np.float64) / np.asarray(written.scale, np.float64)
    return bool((np.abs(ratio - 1.0) > _SAME).any() or (_offset(read) != _offset(written)).any())


def _moved(before: QuantParams, after: QuantParams) -> int:
    """By how many integers the zero point moved, the largest of all channels'."""
    moved = _offset(after) - _offset(before)
    return int(moved[np.abs(moved).argmax()])


def _has_room(grid: QuantParams, other: QuantParams) -> bool:
    """Whether a grid has every integer of another one, their zero points taken off."""
    low, high = (
        np.atleast_1d(end - grid.zero_point.astype(np.int64)) for end in (grid.qmin, grid.qmax)
    )
    wanted = (end - other.zero_point.astype(np.int64) for end in (other.qmin, other.qmax))
    least, most = map(np.atleast_1d, wanted)
    return bool((low <= least).all() and (most <= high).all())


def _width(grid: QuantParams) -> int:
    low, high = STORAGE_RANGE[grid.dtype]
    return (high - low).bit_length()


def _low(grid: QuantParams) -> int:
    return STORAGE_RANGE[grid.dtype][0]


def _offset(grid: QuantParams) -> NDArray[np.int64]:
    """The zero point from the smallest integer of the type, so that int8 is like uint8."""
    return np.atleast_1d(grid.zero_point).astype(np.int64) - _low(grid)


def _zero(grid: QuantParams) -> str:
    return f"{int(np.atleast_1d(grid.zero_point)[0])} ({grid.dtype})"


def _format(grid: QuantParams) -> str:
    return f"{grid.dtype} with {'one scale' if grid.axis is None else 'a scale for each channel'}"
