"""The plots of a comparison are valid plotly, show each hop, and count steps over all tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
import pytest

from edgeq.deploy.report.hop_figures import all_drifts, comparison_figures
from edgeq.deploy.report.values import pooled_steps

if TYPE_CHECKING:
    from edgeq.deploy.report import Report
    from edgeq.results import Comparison


@pytest.fixture
def comparison(report: Report) -> Comparison:
    return report.comparisons[0][1]


def plots(comparison: Comparison) -> list[Any]:
    return [
        go.Figure(data=figure.traces, layout=figure.layout)
        for figure in comparison_figures("c", comparison)
    ]


def test_each_hop_is_a_line_named_by_its_cause(comparison: Comparison) -> None:
    drift, _ = plots(comparison)
    assert [trace.name for trace in drift.data] == [
        "1. quantisation", "2. export (equal)", "3. graph optimisation", "4. conversion",
        "5. kernel rounding",
    ]  # fmt: skip
    assert len({(trace.line.color, trace.marker.symbol[0]) for trace in drift.data}) == 5


def test_the_output_is_the_star_at_the_end_of_its_line(comparison: Comparison) -> None:
    drift, _ = plots(comparison)
    line = drift.data[2]
    assert line.y[-1] == comparison.hops[2].output.rmse
    assert [symbol == "star" for symbol in line.marker.symbol] == [False] * 27 + [True]


def test_an_output_that_is_among_the_tensors_is_shown_once(comparison: Comparison) -> None:
    hop = comparison.hops[2]
    doubled = replace(hop, tensors=(*hop.tensors, hop.output))
    assert all_drifts(doubled) == all_drifts(hop)


def test_steps_are_counted_over_all_tensors(comparison: Comparison) -> None:
    hop = comparison.hops[2]
    counts, _ = pooled_steps(all_drifts(hop))
    assert counts == {0: 27 * 162_289, -1: 27 * 774, 1: 27 * 774, 8: 27 * 3}
    _, lsb = plots(comparison)
    assert list(lsb.data[1].x) == [-1, 0, 1, 8]
    assert sum(lsb.data[1].y) == pytest.approx(100)


def test_only_hops_with_a_common_grid_are_in_the_histogram(comparison: Comparison) -> None:
    _, lsb = plots(comparison)
    assert [trace.name[0] for trace in lsb.data] == ["2", "3", "4", "5"]


def test_the_ends_of_the_histogram_say_that_they_hold_what_is_beyond(
    comparison: Comparison,
) -> None:
    _, lsb = plots(comparison)
    assert (lsb.layout.xaxis.ticktext[0], lsb.layout.xaxis.ticktext[-1]) == ("≤−8", "≥8")


def test_without_a_common_grid_there_is_no_histogram(comparison: Comparison) -> None:
    assert [
        f.key for f in comparison_figures("c", replace(comparison, hops=comparison.hops[:1]))
    ] == ["c-drift"]


def test_without_hops_there_is_nothing_to_draw(comparison: Comparison) -> None:
    assert comparison_figures("c", replace(comparison, hops=())) == ()
