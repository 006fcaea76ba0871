"""The plots of a whole report are valid plotly and show the records' numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
import pytest

from edgeq.deploy.report.figures import curve_figure, scatter_figure

if TYPE_CHECKING:
    from edgeq.deploy.report import Report
    from edgeq.deploy.report.figures import Figure


def checked(figure: Figure | None) -> Any:
    """The figure as plotly's own object, which refuses properties and values it does not know."""
    assert figure is not None
    return go.Figure(data=figure.traces, layout=figure.layout)


def test_each_curve_is_a_line_over_the_layers(report: Report) -> None:
    plot = checked(curve_figure(report))
    assert [trace.name for trace in plot.data] == [curve.name for curve in report.curves]
    assert list(plot.data[0].x) == list(range(1, 28))
    assert list(plot.data[3].y) == [point.rmse for point in report.curves[3].points]
    assert plot.layout.yaxis.type == "log"
    assert [trace.line.dash for trace in plot.data] == ["dash", "dash", "solid", "solid"]


def test_a_point_names_its_tensor_and_its_errors(report: Report) -> None:
    plot = checked(curve_figure(report))
    assert list(plot.data[1].customdata[0]) == ["layer1.0.out", "0.09", "0.0081", "20.0", "0.54"]


def test_a_value_that_is_no_number_leaves_a_gap(report: Report) -> None:
    curve = report.curves[0]
    first, *others = curve.points
    missing = replace(first, metrics={**first.metrics, "rmse": float("nan")})
    broken = replace(curve, points=(missing, *others))
    plot = checked(curve_figure(replace(report, curves=(broken,))))
    assert plot.data[0].y[0] is None


def test_the_finding_is_there_in_words(report: Report) -> None:
    figure = curve_figure(report)
    assert figure is not None
    assert (
        "Stable ResNet56 4W/4A (stable): from 0.05 at the first to 0.07782 at the last of "
        "27 layers." in figure.alt
    )


def test_the_scatter_has_a_point_for_each_pair_of_accuracy_and_latency(report: Report) -> None:
    plot = checked(scatter_figure(report))
    networks = [trace for trace in plot.data if trace.legendgroup == "models"]
    assert [len(trace.x) for trace in networks] == [1, 2, 2, 1, 2, 2]
    accuracy = report.rows[1].accuracy["tflite"]
    assert networks[1].x[1] == report.rows[1].latency["tflite"].p50_ms
    assert networks[1].y[1] == pytest.approx(93.34)
    assert networks[1].y[1] + networks[1].error_y.array[1] == pytest.approx(100 * accuracy.high)
    assert networks[1].y[1] - networks[1].error_y.arrayminus[1] == pytest.approx(100 * accuracy.low)


def test_marks_stand_for_targets_and_say_which(report: Report) -> None:
    plot = checked(scatter_figure(report))
    assert list(plot.data[4].marker.symbol) == ["circle", "square"]
    assert [(trace.name, trace.marker.symbol) for trace in plot.data[6:]] == [
        ("ort-cpu", "circle"),
        ("tflite", "square"),
    ]


def test_names_are_no_markup_in_plots(report: Report) -> None:
    curve = replace(report.curves[0], model='<a href="x">M</a>')
    assert (
        checked(curve_figure(replace(report, curves=(curve,)))).data[0].name
        == '&lt;a href="x"&gt;M&lt;/a&gt; 4W/8A'
    )


def test_nothing_to_draw_is_no_figure(report: Report) -> None:
    bare = replace(report, curves=(), rows=(replace(report.rows[0], latency={}),))
    assert curve_figure(bare) is None
    assert scatter_figure(bare) is None
