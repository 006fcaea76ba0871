"""Float for the most sensitive layers: as few as keep the loss within what is stated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.calibration.search.precision import FLOAT
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.calibration.search.precision import Precision
    from edgeq.calibration.search.sensitivity import Sensitivity
    from edgeq.calibration.search.study import Study


def keep_float(study: Study, base: Precision, known: Sequence[Sensitivity]) -> None:
    """Quantise all layers, then give the most sensitive ones back, one after the other.

    Args:
        study: whose goal is a loss to stay within.
        base: the precision of all other layers.
        known: the sensitivities; those at ``base`` count.

    Raises:
        UsageError: the goal is a budget.
    """
    if study.goal.direction != "max-drop":
        raise UsageError("keeping layers in float needs a loss to stay within", hint="--max-drop")
    order = sorted(
        (each for each in known if each.precision == base.name), key=lambda each: each.sqnr_db
    )
    at = study.uniform(base)
    trial = study.attempt(at, "keep-float")
    for each in order:
        if trial.kept or not study.open:
            return
        at[each.layer] = FLOAT
        trial = study.attempt(at, "keep-float")
