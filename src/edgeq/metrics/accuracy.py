"""Top-1 accuracy: what a count of right answers is worth."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeq.results import Accuracy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_Z95 = 1.959963984540054  # the standard normal's 97.5 % quantile


def wilson(correct: int, total: int) -> tuple[float, float]:
    """The 95 % score interval of a fraction, within [0, 1].

    Wilson, Probable inference, 1927.

    Returns:
        Its ends, as fractions; (0, 1) where there are no samples.
    """
    if total == 0:
        return 0.0, 1.0
    share, square = correct / total, _Z95 * _Z95
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = (
        _Z95
        / (1 + square / total)
        * math.sqrt(share * (1 - share) / total + square / (4 * total * total))
    )
    return (0.0 if correct == 0 else max(0.0, middle - half)), (
        1.0 if correct == total else min(1.0, middle + half)
    )


def accuracy(correct: NDArray[np.bool_]) -> Accuracy:
    """Top-1 accuracy of samples answered right or wrong, (samples,)."""
    return share_right(int(correct.sum()), len(correct))


def share_right(right: int, total: int) -> Accuracy:
    """The accuracy of so many right answers among so many."""
    return Accuracy(right, total, *wilson(right, total))


def near_chance(scored: Accuracy, classes: int) -> bool:
    """Whether an accuracy is one that guessing may reach.

    Its interval reaches it, or it is hardly better.
    """
    return classes > 1 and (scored.low <= 1 / classes or hardly_better(scored, classes))


def hardly_better(scored: Accuracy, classes: int) -> bool:
    """Whether an accuracy is close to guessing.

    At most twice that of guessing, and at most a twentieth of the way from there to certainty.
    """
    chance = 1 / classes
    return scored.fraction <= min(2 * chance, chance + (1 - chance) / 20)


def top1(output: NDArray[np.float32]) -> NDArray[np.int64]:
    """The answer for each sample of a batch, (samples, ...).

    The index of its largest value, the first of equals.
    """
    best: NDArray[np.int64] = output.reshape(len(output), -1).argmax(axis=1)
    return best


def mcnemar(losses: int, gains: int) -> float:
    """The exact two-sided p-value of McNemar's test on samples whose answer changed.

    How likely a split at least this uneven is when neither side is better. McNemar, Note on the
    sampling error of the difference between correlated proportions, 1947; the binomial form.

    Args:
        losses: samples that the first got right and the second wrong.
        gains: samples that the first got wrong and the second right.

    Returns:
        The p-value, in [0, 1].
    """
    changed = losses + gains
    tail: int = 1
    ways: int = 1
    for k in range(min(losses, gains)):
        ways = ways * (changed - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * tail / (1 << changed))
