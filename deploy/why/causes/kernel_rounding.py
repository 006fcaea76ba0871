"""Kernels that round one step further than one rounding can."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeq.deploy.why.evidence import Evidence
    from edgeq.deploy.why.records import Cause

_STEPS = 2
_RARE = 0.02


def find(evidence: Evidence) -> list[Cause]:
    """Where few numbers are off, by two steps at most, and no operator is off by more."""
    worst = evidence.worst
    if worst is None or any(each.max_lsb > _STEPS for each in evidence.meter.meters.values()):
        return []
    if worst.wrong > _RARE * worst.elements:
        return []
    return [
        evidence.cause(
            "kernel rounding",
            f"the kernel of {evidence.pair.target} rounds in another way, by up to {_STEPS} LSB",
            "compare accuracy: it decides whether that matters",
        )
    ]
