"""Means, intervals and the best of a sweep."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeq.deploy.sweep.plan import read_sweep
from edgeq.deploy.sweep.store import CellRecord
from edgeq.deploy.sweep.summary import as_csv, figure_of, summarize, table_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_an_interval_is_students() -> None:
    one, three = figure_of([2.0]), figure_of([1.0, 2.0, 3.0])
    assert math.isinf(one.half_width)
    assert (three.mean, three.repeats) == (2.0, 3)
    assert math.isclose(three.half_width, 4.302652729749464 / math.sqrt(3), rel_tol=1e-9)


def test_rows_are_in_the_order_of_the_grid_and_the_best_are_paretos(
    planted: Callable[..., Path],
) -> None:
    more = '[[published]]\nsource = "a work"\nx = 2\nscore = 98.5\n'
    sweep = read_sweep(planted(more=more))
    scores = {4: (90, 92), 2: (97, 99), 1: (98, 98), 3: (99, 99)}
    records = [
        CellRecord("", {"x": x, "seed": seed}, {"score": score, "cost": x % 3}, 1.5)
        for x, pair in scores.items()
        for seed, score in enumerate(pair)
    ]
    rows = summarize(sweep, records)
    assert [row.parameters["x"] for row in rows] == [1, 2, 3, 4]
    assert [row.best for row in rows] == [False, False, True, False]
    assert rows[0].seconds == 3.0
    columns, cells, numbers = table_of(sweep, rows)
    assert columns == ("x", "score", "cost", "score, published", "repeats", "Pareto")
    assert cells[1] == ("2", "98 ± 13", "2 ± 0", "98.5", "2", "")
    assert "x" not in numbers
    assert as_csv(sweep, rows).splitlines()[3].startswith("3,99.0,0.0,2,")


def test_a_configuration_without_a_figure_is_behind_all(planted: Callable[..., Path]) -> None:
    sweep = read_sweep(planted())
    records = [
        CellRecord("", {"x": 1, "seed": 0}, {"cost": 1}, 0.0),
        CellRecord("", {"x": 2, "seed": 0}, {"score": 5, "cost": 1}, 0.0),
    ]
    rows = summarize(sweep, records)
    assert [row.best for row in rows] == [False, True]
    assert table_of(sweep, rows)[1][0] == ("1", "1", "", "1", "")
