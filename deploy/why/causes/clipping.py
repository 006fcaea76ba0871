"""Results that are cut off elsewhere than they should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgeq.deploy.why.evidence import Evidence
    from edgeq.deploy.why.records import Cause


def find(evidence: Evidence) -> list[Cause]:
    """Where every wrong number lies on a bound on one side, and beyond it on the other."""
    kept, first = evidence.kept, evidence.first
    if kept is None or first is None:
        return []
    wrong = np.abs(kept.expected - kept.seen) > 1
    for clipped, other, told in (
        (kept.seen, kept.expected, "it cuts its result off where the reference does not"),
        (kept.expected, kept.seen, "it does not cut its result off where the reference does"),
    ):
        low, high = float(clipped.min()), float(clipped.max())
        at_low = wrong & (clipped == low) & (other < low)
        at_high = wrong & (clipped == high) & (other > high)
        if wrong.any() and ((at_low | at_high) == wrong).all():
            bound = high if at_high.any() else low
            return [
                evidence.cause(
                    "clipping",
                    f"{told}: at {bound:+.0f} steps from zero",
                    "compare the ranges and activations of both files: edgeq diff",
                )
            ]
    return []
