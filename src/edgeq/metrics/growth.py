"""How the error grows with depth: decibels a block, as a fitted line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.numerics.student import student_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

FEWEST = 3
"""Blocks that a line can be fitted to with an interval."""


@dataclass(frozen=True, slots=True)
class Growth:
    """A line through the SQNR of blocks, one behind the other.

    Attributes:
        rate_db: how much of the SQNR each block costs; below zero where the error shrinks.
        low_db: the lower end of its 95 % interval.
        high_db: the upper end.
        blocks: how many there were.
    """

    rate_db: float
    low_db: float
    high_db: float
    blocks: int


def growth(sqnr_db: Sequence[float]) -> Growth | None:
    """Fit a line by least squares; its interval is Student's for independent residuals.

    Args:
        sqnr_db: of each block's result, in the order of the graph; those that are not finite, as
            of a block without error, are left out.

    Returns:
        None for fewer than ``FEWEST`` blocks.
    """
    places = [i for i, value in enumerate(sqnr_db) if math.isfinite(value)]
    if len(places) < FEWEST:
        return None
    x, y = np.array(places, np.float64), np.array([sqnr_db[i] for i in places])
    x_centered = x - x.mean()
    spread = float(x_centered @ x_centered)
    slope = float(x_centered @ (y - y.mean())) / spread
    residuals = y - y.mean() - slope * x_centered
    freedom = len(places) - 2
    half = student_quantile(0.975, freedom) * math.sqrt(
        float(residuals @ residuals) / freedom / spread
    )
    return Growth(-slope, -slope - half, -slope + half, len(places))
