"""Quantiles of Student's distribution, for intervals of a few numbers."""

from __future__ import annotations

import math
from statistics import NormalDist

_NORMAL = NormalDist()


def student_quantile(share: float, freedom: float) -> float:
    """How many deviations of the mean hold a share of Student's distribution below them.

    Exact for one and two degrees of freedom, else Hill's expansion in the quantile of the normal
    distribution (CACM algorithm 396, 1970), good to three digits.

    Args:
        share: above 0 and below 1; 0.975 for an interval of 95 %.
        freedom: degrees of it, at least 1.
    """
    if freedom == 1:
        return math.tan(math.pi * (share - 0.5))
    if freedom == 2:
        beside = 4 * share * (1 - share)
        return (2 * share - 1) * math.sqrt(2 / beside)
    z, n = _NORMAL.inv_cdf(share), float(freedom)
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * n**4)
    )
