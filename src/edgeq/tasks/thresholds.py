"""Decision thresholds: where scores are cut best, which quantisation may move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def best_f1(
    scores: NDArray[np.floating], right: NDArray[np.bool_], positives: int
) -> tuple[float | None, float]:
    """The threshold at which F1 is highest, and that F1.

    A candidate is taken from the threshold on. Equal scores fall on one side.

    Args:
        scores: of each candidate, (n,).
        right: whether it is one of the positives, (n,).
        positives: how many there are, those that are no candidates too.

    Returns:
        The lowest score that is taken, None where nothing is right at any threshold; and F1.
    """
    if not positives or not right.any():
        return None, 0.0
    order = np.argsort(-scores, kind="stable")
    sure, hits = scores[order], np.cumsum(right[order])
    taken = np.arange(1, len(sure) + 1)
    f1 = 2 * hits / (taken + positives)
    f1[:-1][sure[:-1] == sure[1:]] = -1  # a threshold cannot part them
    best = int(np.argmax(f1))
    return float(sure[best]), float(f1[best])
