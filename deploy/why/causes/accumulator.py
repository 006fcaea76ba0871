"""Sums that leave the accumulator of the hardware."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeq.deploy.why.evidence import Evidence
    from edgeq.deploy.why.records import Cause


def find(evidence: Evidence) -> list[Cause]:
    """Where a target that counts its sums says so of the first wrong operator."""
    first, overflows = evidence.first, evidence.overflows
    if first is None or not overflows:
        return []
    stats = overflows.get(first.operator.name)
    if stats is None or not stats.overflowed:
        return []
    return [
        evidence.cause(
            "accumulator",
            f"sums leave the accumulator: {stats.overflowed:,} of {stats.sums:,}",
            f"edgeq emulate {evidence.pair.artefact} shows it layer by layer; smaller weights, or "
            "a wider accumulator, keep it",
        )
    ]
