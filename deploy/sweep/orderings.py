"""Claims that one figure is smaller than another, tested over the cells of a sweep.

Cells are paired that differ in nothing but what the claim is about, such as a stable and a plain
network of the same seed. Where the claim said nothing, each difference could as well have the other
sign: the test counts the choices of signs whose mean is at least as far on the claimed side
(Fisher, *The design of experiments*, 1935, section 21). It supposes nothing of how differences are
spread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgeq.deploy.sweep.asked import FIGURE
from edgeq.deploy.sweep.summary import figure_of
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.deploy.sweep.asked import Ordering
    from edgeq.deploy.sweep.store import CellRecord

LEVEL = 0.05
"""The one-sided chance below which a claim counts as decided."""
_ALL = 14  # pairs up to which every choice of signs is tried
_DRAWN = 2**_ALL
_NEEDED = 5
"""Pairs below which no result can be under the level: 2^-5 is, 2^-4 is not."""

Verdict = Literal["holds", "fails", "not decided", "no pairs"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the cells say of a claim.

    Attributes:
        claim: in words.
        verdict: ``holds`` or ``fails`` where chance alone would give as clear a result in less than
            one of 20 tries; ``fails`` means the other way round.
        pairs: of cells.
        as_claimed: pairs in which the figure is ordered as claimed.
        mean: of the differences; of ratios, their geometric mean.
        low: the lower end of Student's 95 % interval of it; minus infinity for one pair, 0 where
            ratios are compared.
        high: the upper end.
        chance: of a mean at least so far on the claimed side, if neither side were smaller.
        ratio: whether ratios are compared.
    """

    claim: str
    verdict: Verdict
    pairs: int
    as_claimed: int
    mean: float
    low: float
    high: float
    chance: float
    ratio: bool


def decide(ordering: Ordering, records: Sequence[CellRecord]) -> Decision:
    """Test a claim over the cells that there are."""
    less, more = _side(ordering, ordering.less, records), _side(ordering, ordering.more, records)
    pairs = [(less[key], more[key]) for key in less if key in more]
    if ordering.ratio:
        pairs = [pair for pair in pairs if min(pair) > 0]
    if not pairs:
        return Decision(ordering.claim, "no pairs", 0, 0, 0.0, 0.0, 0.0, 1.0, ordering.ratio)
    small, great = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
    gaps = np.log(great / small) if ordering.ratio else great - small
    found = figure_of(gaps.tolist())
    chance = sign_chance(gaps)
    verdict: Verdict = (
        "holds" if chance <= LEVEL else "fails" if sign_chance(-gaps) <= LEVEL else "not decided"
    )
    ends = (found.mean, found.mean - found.half_width, found.mean + found.half_width)
    mean, low, high = map(_exp, ends) if ordering.ratio else ends
    as_claimed = int((gaps > 0).sum())
    return Decision(
        ordering.claim, verdict, len(gaps), as_claimed, mean, low, high, chance, ordering.ratio
    )


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _side(
    ordering: Ordering, side: Mapping[str, Any], records: Sequence[CellRecord]
) -> dict[tuple[tuple[str, str], ...], float]:
    """The figure of one side's cells, by all parameters that the claim is not about."""
    about = {*ordering.less, *ordering.more}
    name = side.get(FIGURE, ordering.figure)
    wanted = {key: value for key, value in side.items() if key != FIGURE}
    return {
        tuple(
            (key, repr(cell.parameters[key])) for key in sorted(cell.parameters.keys() - about)
        ): (cell.figures[name])
        for cell in records
        if name in cell.figures
        and all(cell.parameters.get(key) == value for key, value in wanted.items())
    }


def sign_chance(gaps: NDArray[np.float64]) -> float:
    """The share of all choices of signs whose mean is at least that of the gaps as they are.

    Up to 14 pairs every choice is tried, of more 16,384 drawn ones, the present one among them.
    """
    count = len(gaps)
    if count <= _ALL:
        bits = np.arange(2**count)[:, None] >> np.arange(count) & 1
    else:
        bits = np.random.default_rng(0).integers(0, 2, (_DRAWN, count))
        bits[0] = gaps > 0
    sums = (2 * bits - 1) @ np.abs(gaps)
    return float((sums >= gaps.sum() - 1e-12 * np.abs(gaps).sum()).mean())


def sentence_of(decision: Decision) -> str:
    """A decision in words."""
    if not decision.pairs:
        return f"{decision.claim}: no pair of cells is there yet"
    size = "ratio" if decision.ratio else "difference"
    ends = (
        f", 95 % {decision.low:.3g} to {decision.high:.3g}"
        if decision.pairs > 1 and math.isfinite(decision.high)
        else ""
    )
    told = (
        f"{decision.claim}: {decision.verdict} "
        f"({counted(decision.as_claimed, 'pair', of=decision.pairs)}; "
        f"mean {size} {decision.mean:.3g}{ends}; p = {decision.chance:.2g})"
    )
    few = decision.verdict == "not decided" and decision.pairs < _NEEDED
    return f"{told}; {_NEEDED} pairs are needed to decide" if few else told
