"""Samples that are fed otherwise than the network was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.why.records import Cause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.deploy.evaluation.plausibility import Doubt


def find(doubts: Sequence[Doubt]) -> list[Cause]:
    """The first other preprocessing that does clearly better on the same samples.

    Args:
        doubts: what is odd about the answers of all stages.
    """
    known = (each for each in doubts if each.flags)
    return [Cause("preprocessing", each.told, hint=f"feed it with {each.flags}") for each in known][
        :1
    ]
