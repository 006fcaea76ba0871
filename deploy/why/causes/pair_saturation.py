"""Pairs of products that saturate at 16 bits, as on x86 without VNNI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.tabular import counted

if TYPE_CHECKING:
    from edgeq.deploy.why.evidence import Evidence
    from edgeq.deploy.why.records import Cause


def find(evidence: Evidence) -> list[Cause]:
    """Where the first wrong operator, or a hidden one before it, has pairs that saturate there."""
    saturation = evidence.saturation
    if saturation is None:
        return []
    hit = [layer for layer in saturation.layers if layer.wrong_sums or not layer.sums]
    by_tensor = {layer.tensor: layer for layer in hit}
    place = next((each for each in evidence.suspects if each.operator.tensor in by_tensor), None)
    if place is None:
        return []
    layer = by_tensor[place.operator.tensor]
    sums = (
        f": {layer.wrong_sums:,} of {layer.sums:,} sums are wrong on samples that it changes"
        if layer.sums
        else f": a pair can come to {layer.extreme:,}, and 16 bits hold 32,767"
    )
    more = len(hit) - 1
    others = f", and in {counted(more, 'more layer')}" if more else ""
    return [
        evidence.cause(
            "pair saturation",
            f"pairs of products saturate at 16 bits, as on x86 without VNNI{sums}{others}",
            saturation.hint,
            place=place,
        )
    ]
