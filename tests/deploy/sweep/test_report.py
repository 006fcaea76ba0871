"""The page of a sweep: its table, what it tells of claims, and its plots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgeq.deploy.sweep.asked import read_plot
from edgeq.deploy.sweep.plan import read_sweep
from edgeq.deploy.sweep.plots import panels_of
from edgeq.deploy.sweep.report import PLOTS, REPORT
from edgeq.deploy.sweep.run import run_sweep
from edgeq.deploy.sweep.summary import Figure, Row
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.deploy.sweep.conftest import Inline

MORE = """
[[ordering]]
claim = "2 costs less than 4"
figure = "cost"
less = { x = 2 }
more = { x = 4 }
[[plot]]
title = "Score"
x = "x"
y = "score"
[[published]]
source = "a work"
x = 2
score = 98.5
"""


def test_a_page_has_the_table_the_claims_and_the_plots(
    planted: Callable[..., Path], engine: Inline, tmp_path: Path
) -> None:
    sweep = read_sweep(planted(more=MORE))
    found = run_sweep(sweep, tmp_path / "out", engine, code=["planted_cells:score"])
    assert [each.verdict for each in found.decisions] == ["not decided"]
    page = (tmp_path / "out" / REPORT).read_text().replace("\\", "")
    assert "- 8 of 8 cells" in page
    assert "| x | score | cost | score, published | repeats | Pareto |" in page
    assert "- 2 costs less than 4: not decided (2 of 2 pairs" in page
    assert "- published: a work" in page
    assert f"({PLOTS})" in page
    assert ">score, a work</text>" in (tmp_path / "out" / PLOTS).read_text()


def test_a_family_of_figures_lies_along_an_axis() -> None:
    figures = {
        "rmse/2": Figure(2.0, 0.0, 1),
        "rmse/1": Figure(1.0, 0.0, 1),
        "rmse": Figure(9, 0, 1),
    }
    rows = [
        Row({"network": name, "data": "d"}, figures, {"paper": {"rmse/1": 7.0}}, False, 1.0)
        for name in "ab"
    ]
    asked = {"title": "by block", "x": "block", "y": "rmse", "lines": ["network"], "panel": "data"}
    (panel,) = panels_of(read_plot(asked, {"network": "ab", "data": "d"}), rows)
    assert panel.title == "by block: d"
    assert panel.series["a"] == [(1.0, 1.0), (2.0, 2.0)]
    assert panel.series["b, paper"] == [(1.0, 7.0)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": ""}, "lacks title, x or y"),
        ({"lines": "a"}, "lines is 'a'"),
        ({"lines": ["b"]}, "no parameter"),
        ({"z": 1}, "no key"),
        ({"log": 1}, "log"),
    ],
)
def test_what_a_plot_may_not_say(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_plot({"title": "t", "x": "x", "y": "y", **change}, {"a": (1,)})
