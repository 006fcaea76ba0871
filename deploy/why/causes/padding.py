"""Results that are wrong at the border only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgeq.deploy.why.evidence import Evidence
    from edgeq.deploy.why.records import Cause


def find(evidence: Evidence) -> list[Cause]:
    """Where the inner numbers of an image are right and those at its border are not."""
    kept, first = evidence.kept, evidence.first
    if kept is None or first is None or kept.expected.ndim != 5:
        return []
    channel = first.operator.channel_axis or 2
    height, width = (i for i in range(2, 5) if i != channel)
    wrong = np.abs(kept.expected - kept.seen) > 1
    inner = [slice(None)] * wrong.ndim
    for axis in (height, width):
        if wrong.shape[axis] < 3:
            return []
        inner[axis] = slice(1, -1)
    if wrong[tuple(inner)].any() or not wrong.any():
        return []
    return [
        evidence.cause(
            "padding",
            "it pads its input otherwise: only numbers at the border are wrong",
            "compare the pads of both operators: edgeq diff",
        )
    ]
