"""Samples that are fed otherwise than the network was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.evaluation.plausibility import doubts
from edgeq.deploy.why.records import Cause

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.data import DataSource

_BETTER = " reaches "
"""What :func:`edgeq.deploy.evaluation.plausibility.doubts` says where another one is better."""


def find(file: Path, source: DataSource) -> tuple[list[Cause], str]:
    """Whether another preprocessing answers better than guessing where this one does not.

    Args:
        file: what is fed.
        source: the data.

    Returns:
        The cause, where there is one; else what is odd about the answers, in words.
    """
    told = doubts(file, source)
    if _BETTER not in told:
        return [], told
    flags = told.partition("right? ")[2].partition(_BETTER)[0]
    return [Cause("preprocessing", told, hint=f"feed it with {flags}")], ""
