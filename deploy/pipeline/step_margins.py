"""How far each step of a trained symmetric network is from expanding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.errors import UsageError
from edgeq.formats.artefact import resolve

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.models.stability.symmetric import StepMargin


def margins_of(run: Path) -> tuple[StepMargin, ...]:
    """``h L ||K'||^2 / 2`` of each step, on the weights as they are quantised.

    Args:
        run: a training folder or checkpoint.

    Raises:
        ArtefactError: it is missing or broken.
        UsageError: it has no symmetric steps.
    """
    from edgeq.models.stability.symmetric import step_margins
    from edgeq.training.checkpoint import load_model

    found = step_margins(load_model(resolve(run)).module)
    if not found:
        raise UsageError(
            f"{run} has no symmetric steps",
            hint="name a run of one of the networks that `edgeq models` calls symmetric",
        )
    return found
