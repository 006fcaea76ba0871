"""A runtime that computes an operator otherwise than it is defined."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeq.deploy.why.evidence import Evidence
    from edgeq.deploy.why.records import Cause


def find(evidence: Evidence) -> list[Cause]:
    """What is left: the file's numbers are right, and the operator's result is not."""
    worst = evidence.worst
    if evidence.first is None or worst is None:
        return []
    return [
        evidence.cause(
            "runtime bug",
            f"{evidence.pair.target} computes it otherwise than the file says, by up to "
            f"{worst.max_lsb:,} LSB",
            "--reduce writes the smallest file that shows it, to report to the runtime's makers",
            channels=worst.channels,
        )
    ]
