"""Answers that are lost between float and integers: rounding, or values beyond the grid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeq.deploy.why.records import Cause

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from edgeq.deploy.why.evidence import Evidence, Place
    from edgeq.deploy.why.records import OperatorError

FACTOR = 30.0
"""From this multiple of what rounding gives on, a squared error is not rounding.

Errors of one sign, as those of a constant signal, add up faster: three times as fast for each of
the inputs of a sum.
"""
_CUT_OFF = 100.0
"""The same of values beyond the grid: other samples than those of calibration reach further."""
_CLIPPED = 0.5
"""Of the squared error of an operator: from this share on clipping is what hurts it."""
_WIDER = "calibrate on more samples, or with another observer: edgeq calibrate --list-methods"


def find(
    file: Path,
    operators: Sequence[OperatorError],
    places: Mapping[str, Place],
    lost: int,
    gained: int,
    rounding: Mapping[str, float | None],
) -> Cause:
    """Why a stage loses answers to the float stage by more than chance.

    Args:
        file: the quantised file.
        operators: how far each operator is from the float stage, given its values.
        places: the operators by name.
        lost: samples that were right in float and are wrong now.
        gained: the other way round.
        rounding: how many times what rounding gives an operator is off; None where that is unknown.
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
    times = rounding.get(worst.tensor)
    if clips:
        why = f"{100 * worst.clipped:.0f} % of its squared error from values beyond its grid"
    elif times is None:
        why = f"and how much of that is rounding is not known of a {place.operator.op_type}"
    else:
        why = f"by rounding: {times:.2g} times the squared error that its steps give"
    return Cause(
        "clipping" if clips else "quantisation",
        f"{told}; most in {worst.tensor!r}, {worst.sqnr_db:.1f} dB given equal inputs, {why}",
        place.title,
        place.operator.op_type,
        place.number,
        place.count,
        worst.tensor,
        evidence=tuple(
            f"{each.tensor!r}: {each.sqnr_db:.1f} dB"
            for each in sorted(known, key=lambda each: each.sqnr_db)[:3]
        ),
        hint=(_WIDER if clips else f"give {worst.tensor!r} more bits, or train: edgeq train"),
    )


def beyond_rounding(
    evidence: Evidence,
    operators: Sequence[OperatorError],
    rounding: Mapping[str, tuple[float, float] | None],
    others: Collection[str] = (),
) -> list[Cause]:
    """The first operator that is further from float, given its values, than rounding explains.

    Args:
        evidence: the stage.
        operators: how far each operator is from the float stage, in the order of execution.
        rounding: how many times what rounding gives each is off, within its grid and beyond it.
        others: the tensors of operators that give other numbers, whatever rounding gives them.
    """
    for each in operators:
        inside, beyond = rounding.get(each.tensor) or (0.0, 0.0)
        if each.tensor not in evidence.places:
            continue
        if each.tensor in others:
            return [
                evidence.cause(
                    "conversion",
                    f"it gives other numbers than the float operator: {each.sqnr_db:.1f} dB given "
                    "the float network's values",
                    evidence.remedy,
                    place=evidence.places[each.tensor],
                )
            ]
        if inside <= FACTOR and beyond <= _CUT_OFF:
            continue
        read = evidence.places[each.tensor].operator.inputs
        cut = next((i for i in operators if i.tensor in read and _is_cut(i, rounding)), None)
        if cut is not None and cut.tensor in evidence.places:
            each, (_, beyond) = cut, rounding[cut.tensor] or (0.0, 0.0)
        clips = beyond > _CUT_OFF or cut is not None
        told = (
            f"values beyond its grid are cut off, {beyond:.3g} times the squared error of rounding"
            if clips
            else f"its squared error is {inside:.3g} times what rounding explains"
        )
        return [
            evidence.cause(
                "clipping" if clips else "conversion",
                f"{told}; {each.sqnr_db:.1f} dB given the float network's values",
                _WIDER if clips else evidence.remedy,
                place=evidence.places[each.tensor],
            )
        ]
    return []


def _is_cut(each: OperatorError, rounding: Mapping[str, tuple[float, float] | None]) -> bool:
    """Whether values beyond its grid explain what operators behind it have otherwise."""
    inside, beyond = rounding.get(each.tensor) or (0.0, 0.0)
    return beyond > max(1.0, inside)
