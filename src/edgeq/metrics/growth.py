"""How the error grows with depth: decibels a block, as a fitted line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeq.numerics.student import student_quantile
from edgeq.results import Growth

if TYPE_CHECKING:
    from collections.abc import Sequence

FEWEST = 3
"""Blocks that a line can be fitted to with an interval."""


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
