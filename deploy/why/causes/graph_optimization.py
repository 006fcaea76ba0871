"""What the runtime makes of a file that it computes exactly as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeq.deploy.why.evidence import Evidence
    from edgeq.deploy.why.records import Cause


def find(evidence: Evidence) -> list[Cause]:
    """Where a target that optimises is wrong on a file that its reference computes exactly."""
    link = evidence.capabilities.link
    if (
        evidence.first is None
        or link is None
        or "graph optimisation" not in link.causes
        or not evidence.reference_exact
    ):
        return []
    return [
        evidence.cause(
            "graph optimisation",
            f"{evidence.pair.target} computes it otherwise once it has optimised the graph; "
            "without, the file is exact",
            f"edgeq audit {evidence.pair.artefact} --target {evidence.pair.target} shows what it "
            "became",
        )
    ]
