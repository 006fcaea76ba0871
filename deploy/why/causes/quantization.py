"""Answers that are lost between float and integers: rounding, or values beyond the grid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeq.deploy.why.records import Cause

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgeq.deploy.why.evidence import Place
    from edgeq.deploy.why.records import OperatorError

_CLIPPED = 0.5
"""Of the squared error of an operator: from this share on clipping is what hurts it."""


def find(
    file: Path,
    operators: Sequence[OperatorError],
    places: Mapping[str, Place],
    lost: int,
    gained: int,
) -> Cause:
    """Why a stage loses answers to the float stage by more than chance.

    Args:
        file: the quantised file.
        operators: how far each operator is from the float stage, given its values.
        places: the operators by name.
        lost: samples that were right in float and are wrong now.
        gained: the other way round.
    """
    told = f"quantisation loses {lost:,} answers and gains {gained:,}, more than chance explains"
    known = [each for each in operators if math.isfinite(each.sqnr_db)]
    if not known:
        return Cause(
            "quantisation", told, hint=f"edgeq compare FLOAT {file} shows the drift by layer"
        )
    worst = min(known, key=lambda each: each.sqnr_db)
    place = places[worst.tensor]
    clips = worst.clipped > _CLIPPED
    what = f"{told}; most in {worst.tensor!r}, {worst.sqnr_db:.1f} dB given equal inputs, " + (
        f"{100 * worst.clipped:.0f} % of its squared error from values beyond its grid"
        if clips
        else "by rounding"
    )
    return Cause(
        "clipping" if clips else "quantisation",
        what,
        place.title,
        place.operator.op_type,
        place.number,
        place.count,
        worst.tensor,
        evidence=tuple(
            f"{each.tensor!r}: {each.sqnr_db:.1f} dB"
            for each in sorted(known, key=lambda each: each.sqnr_db)[:3]
        ),
        hint=(
            "calibrate with another observer: edgeq calibrate --list-methods"
            if clips
            else f"give {worst.tensor!r} more bits, or train: edgeq train"
        ),
    )
