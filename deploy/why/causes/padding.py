"""Results that are wrong at the border only, or that stand a place further."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.deploy.why.evidence import Evidence
    from edgeq.deploy.why.records import Cause

_FAR = 2  # places that a result may be shifted
_LEAST = 3  # rows and columns that tell a border from the rest


def find(evidence: Evidence) -> list[Cause]:
    """Where the inner numbers of an image are right, in their place or in a place nearby."""
    kept, first = evidence.kept, evidence.first
    if kept is None or first is None or kept.expected.ndim != 5:
        return []
    channel = first.operator.channel_axis or 2
    expected, seen = (np.moveaxis(each, channel, 2) for each in (kept.expected, kept.seen))
    told = _shifted(expected, seen)
    if not told:
        return []
    return [
        evidence.cause(
            "padding",
            f"it pads its input otherwise: {told}",
            "compare the pads of both operators: edgeq diff",
        )
    ]


def _shifted(expected: NDArray[np.float32], seen: NDArray[np.float32]) -> str:
    """How the image lies, in words; empty where it is another one."""
    height, width = expected.shape[-2:]
    for distance in range(_FAR + 1):
        if min(height, width) - distance - 2 < _LEAST - 2:
            return ""
        for down in (0, distance, -distance):
            for right in (0, distance, -distance):
                if max(abs(down), abs(right)) == distance and _alike(expected, seen, down, right):
                    if distance == 0:
                        return "only numbers at the border are wrong"
                    return f"its result is moved by {down} rows and {right} columns"
    return ""


def _alike(expected: NDArray[np.float32], seen: NDArray[np.float32], down: int, right: int) -> bool:
    """Whether the inner numbers agree once one image is moved."""
    moved = np.roll(seen, (down, right), axis=(-2, -1))
    rows, columns = 1 + abs(down), 1 + abs(right)
    inner = (..., slice(rows, -rows), slice(columns, -columns))
    a, b = expected[inner], moved[inner]
    # of a constant image, any move looks right
    return a.size > 0 and bool((np.abs(a - b) <= 1).all()) and float(np.ptp(a)) > 1
