"""Right numbers in wrong places: channels in another order, rows for columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.deploy.why.evidence import Evidence
    from edgeq.deploy.why.records import Cause

_HINT = "check the order of axes where the file was converted: NCHW or NHWC"


def find(evidence: Evidence) -> list[Cause]:
    """Where the result of the first wrong operator has the expected numbers elsewhere."""
    kept, first = evidence.kept, evidence.first
    if kept is None or first is None:
        return []
    axis = first.operator.channel_axis
    told = _channels(kept.expected, kept.seen, axis) if axis is not None else ""
    told = told or _turned(kept.expected, kept.seen)
    return [evidence.cause("layout", told, _HINT)] if told else []


def _close(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    return a.shape == b.shape and bool((np.abs(a - b) <= 1).all())


def _channels(expected: NDArray[np.float32], seen: NDArray[np.float32], axis: int) -> str:
    """Whether channels are the same in another order, in words; empty where they are not."""
    mine, theirs = (
        np.moveaxis(each, axis, 0).reshape(each.shape[axis], -1) for each in (expected, seen)
    )
    if mine.shape != theirs.shape or len(mine) > 1024:
        return ""
    order = []
    for row in theirs:
        same = np.flatnonzero((np.abs(mine - row) <= 1).all(axis=1))
        if not len(same):
            return ""
        free = [int(i) for i in same if i not in order]
        if not free:
            return ""
        order.append(free[0])
    moved = [i for i, place in enumerate(order) if i != place]
    if not moved:
        return ""
    if len(moved) == 2:
        return f"channels {moved[0]} and {moved[1]} change places"
    return f"{len(moved)} of {len(order)} channels stand in another order"


def _turned(expected: NDArray[np.float32], seen: NDArray[np.float32]) -> str:
    if expected.ndim < 4 or seen.shape != expected.shape:
        return ""
    for a in range(1, expected.ndim):
        for b in range(a + 1, expected.ndim):
            if min(expected.shape[a], expected.shape[b]) > 1 and (
                _close(np.swapaxes(expected, a, b), seen)
                or _close(np.swapaxes(expected, a, b).reshape(seen.shape), seen)
            ):
                return "two axes of its result change places"
    return ""
