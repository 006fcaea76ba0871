"""An operator that the target leaves in float, or that a delegate hands back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeq.deploy.why.evidence import Evidence
    from edgeq.deploy.why.records import Cause


def find(evidence: Evidence) -> list[Cause]:
    """Where the target's own plan says so of the first wrong operator."""
    first, plan = evidence.first, evidence.plan
    # a reference computes in float by design, and is exact all the same
    if first is None or plan is None or evidence.capabilities.reference:
        return []
    names = {first.title, first.operator.name, first.operator.tensor}
    op = next((each for each in plan.ops if each.name in names), None)
    if op is None or (op.arithmetic in ("integer", "none") and op.place != "fallback"):
        return []
    return [
        evidence.cause(
            "float fallback",
            f"{evidence.pair.target} runs it as {op.kernel} in {op.arithmetic}"
            + (f": {op.why}" if op.why else ""),
            f"edgeq audit {evidence.pair.artefact} --target {evidence.pair.target}",
        )
    ]
