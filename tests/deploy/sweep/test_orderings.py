"""Claims over the cells of a sweep: which are paired, and when chance is ruled out."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from edgeq.deploy.sweep.asked import read_ordering
from edgeq.deploy.sweep.orderings import decide, sentence_of, sign_chance
from edgeq.deploy.sweep.store import CellRecord
from edgeq.errors import UsageError

GRID = {"network": ("plain", "stable"), "data": ("a", "b"), "seed": (0, 1, 2)}
CLAIM = {
    "claim": "stable is smaller",
    "figure": "rmse",
    "less": {"network": "stable"},
    "more": {"network": "plain"},
}


def cells(plain: float, stable: float) -> list[CellRecord]:
    return [
        CellRecord("", {"network": n, "data": d, "seed": s}, {"rmse": v + s, "other": -v}, 1.0)
        for (n, v), d, s in product((("plain", plain), ("stable", stable)), "ab", range(3))
    ]


def test_a_claim_holds_fails_or_is_not_decided() -> None:
    ordering = read_ordering(CLAIM, GRID)
    holds, fails = decide(ordering, cells(2.0, 1.0)), decide(ordering, cells(1.0, 2.0))
    assert (holds.verdict, holds.pairs, holds.as_claimed, holds.mean) == ("holds", 6, 6, 1.0)
    assert holds.chance == 2**-6
    assert (fails.verdict, fails.chance) == ("fails", 1.0)
    few = decide(ordering, [each for each in cells(2.0, 1.0) if each.parameters["data"] == "a"])
    assert (few.verdict, few.chance) == ("not decided", 1 / 8)
    assert sentence_of(few).endswith("5 pairs are needed to decide")
    assert decide(ordering, []).verdict == "no pairs"
    assert "no pair" in sentence_of(decide(ordering, []))


def test_ratios_have_a_geometric_mean_and_other_figures_of_one_cell_can_be_compared() -> None:
    found = decide(read_ordering({**CLAIM, "ratio": True}, GRID), cells(20.0, 10.0))
    gaps = [math.log((20 + s) / (10 + s)) for s in range(3)] * 2
    assert found.mean == pytest.approx(math.exp(np.mean(gaps)))
    assert found.low < found.mean < found.high
    inside = {**CLAIM, "less": {"figure": "other"}, "more": {"figure": "rmse"}}
    within = decide(read_ordering(inside, GRID), cells(2.0, 1.0))
    assert (within.verdict, within.pairs) == ("holds", 12)


@pytest.mark.parametrize("count", [3, 5, 20])
def test_the_chance_is_the_share_of_signs(count: int) -> None:
    gaps = np.random.default_rng(count).normal(0.5, 1, count)
    chance = sign_chance(gaps)
    if count <= 14:  # every choice is tried
        assert chance + sign_chance(-gaps) >= 1 - 1e-9
        signs = np.array(list(product((-1, 1), repeat=count)))
        assert chance == ((signs * np.abs(gaps)).sum(1) >= gaps.sum() - 1e-12).mean()
    assert 0 < chance <= 1
    assert sign_chance(np.ones(count)) == pytest.approx(2.0**-count, rel=0.1, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"less": {"network": "plain"}}, "less is"),
        ({"less": {"data": "a"}}, "less is"),
        ({"less": {"netwrok": "plain"}}, "did you mean 'network'"),
        ({"less": 3}, "less of"),
        ({"figrue": 3}, "did you mean 'figure'"),
        ({"ratio": 3}, "ratio"),
    ],
)
def test_what_a_claim_may_not_say(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_ordering({**CLAIM, **change}, GRID)
