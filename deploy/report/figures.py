"""The two plots of a whole report: rounding error over depth, and accuracy against latency.

Figures are built as plotly's own JSON, which the page hands to plotly.js; the tests check each
against plotly's schema.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.deploy.report.palette import SYMBOLS, Style, model_styles
from edgeq.deploy.report.values import decibels, general, milliseconds, percent, share
from edgeq.plain import Json, to_plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.deploy.report.content import LayerCurve, ModelRow, Report
    from edgeq.results import Drift

DRIFT_HOVER = (
    "<b>%{customdata[0]}</b><br>RMSE %{customdata[1]}<br>MSE %{customdata[2]}<br>SQNR "
    "%{customdata[3]} dB"
    "<br>largest difference %{customdata[4]}<extra>%{fullData.name}</extra>"
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One plot.

    Attributes:
        key: its id on the page.
        caption: what is drawn, one or two sentences.
        alt: the finding in words, for those who cannot see it.
        traces: plotly's ``data``.
        layout: plotly's ``layout``, without colours: the page adds those of its light or dark
            scheme.
        switch: the axis whose scale a button changes between logarithmic and linear, empty for
            none.
    """

    key: str
    caption: str
    alt: str
    traces: list[Json]
    layout: dict[str, Json]
    switch: str = ""


def label(text: str) -> str:
    """Text for a plot.

    Plotly reads some HTML in it, a link among them, so none may come from a name.
    """
    return html.escape(text, quote=False)


def base_layout(x_title: str, y_title: str, *, height: int) -> dict[str, Json]:
    """What all plots share.

    Titles, and a legend along the lower edge, which takes its room from the plot.
    """
    return {
        "height": height,
        "margin": {"l": 64, "r": 16, "t": 12, "b": 48},
        "hovermode": "closest",
        "xaxis": {"title": {"text": x_title, "standoff": 8}, "automargin": True, "zeroline": False},
        "yaxis": {"title": {"text": y_title, "standoff": 8}, "automargin": True, "zeroline": False},
        "legend": {"orientation": "h", "x": 0, "yref": "container", "y": 0, "yanchor": "bottom"},
    }


def axis_of(layout: dict[str, Json], name: str) -> dict[str, Json]:
    """One axis of a layout, to be filled in further."""
    axis = layout[name]
    if not isinstance(axis, dict):
        raise TypeError(f"the layout's {name} is no axis")
    return axis


def make_log(layout: dict[str, Json], name: str) -> None:
    """Give an axis a logarithmic scale, its labels written out in full.

    The page's button takes it back.
    """
    axis_of(layout, name).update(type="log", minorloglabels="complete", exponentformat="e")
    if name == "yaxis":  # labels at 1, 2 and 5: all nine of a decade do not fit above each other
        axis_of(layout, name)["dtick"] = "D2"


def hover_data(points: Sequence[Drift]) -> list[Json]:
    """What ``DRIFT_HOVER`` shows of each point."""
    return [
        [label(p.tensor), general(p.rmse), general(p.mse), decibels(p.sqnr_db), general(p.max_abs)]
        for p in points
    ]


def curve_figure(report: Report) -> Figure | None:
    """RMSE of rounding activations by layer, a line for each network; None where there is none.

    Laid out as Figure 1 of Ben-Yair, Eliasof, Treister, Quantized convolutional neural networks
    through the lens of partial differential equations.
    """
    if not report.curves:
        return None
    styles = model_styles(report)
    layout = base_layout("layer", "RMSE (units of the activation)", height=460)
    make_log(layout, "yaxis")
    axis_of(layout, "xaxis")["range"] = [
        0.5,
        max(len(curve.points) for curve in report.curves) + 0.5,
    ]
    return Figure(
        key="rounding-error",
        caption=(
            "Difference between activations that are rounded and the same activations "
            "only clipped, by layer. "
            "Stable networks: unbroken lines, filled marks. Original networks: dashed "
            "lines, open marks."
        ),
        alt="RMSE of rounding activations by layer. "
        + " ".join(_curve_words(curve) for curve in report.curves),
        traces=[_curve_trace(curve, styles[curve.model, curve.scheme]) for curve in report.curves],
        layout=layout,
        switch="yaxis",
    )


def scatter_figure(report: Report) -> Figure | None:
    """Accuracy with its Wilson interval over median latency; None where no target has both."""
    points = [
        (row, target) for row in report.rows for target in row.latency if _has_both(row, target)
    ]
    if not points:
        return None
    styles = model_styles(report)
    targets = list(dict.fromkeys(target for _, target in points))
    rows = list(dict.fromkeys(id(row) for row, _ in points))
    by_row = {id(row): row for row, _ in points}
    layout = base_layout(
        "median latency p50 (ms)",
        "top-1 accuracy (%)",
        height=400 + 20 * max(len(rows), len(targets)),
    )
    make_log(layout, "xaxis")
    traces: list[Json] = [
        _row_trace(by_row[key], targets, styles[by_row[key].model, by_row[key].scheme])
        for key in rows
    ]
    return Figure(
        key="accuracy-latency",
        caption="Accuracy against measured latency. Bars are 95 % Wilson intervals; up and to the "
        "left is better.",
        alt="Accuracy against median latency. "
        + " ".join(_point_words(row, target) for row, target in points),
        traces=traces + [_target_key(target, targets) for target in targets],
        layout=layout,
        switch="xaxis",
    )


def _curve_trace(curve: LayerCurve, style: Style) -> Json:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": label(curve.name),
        "x": list(range(1, len(curve.points) + 1)),
        "y": [to_plain(point.rmse) for point in curve.points],
        "customdata": hover_data(curve.points),
        "hovertemplate": DRIFT_HOVER,
        "line": {"color": style.color, "dash": style.dash, "width": 2},
        "marker": {"symbol": style.symbol, "size": 7, "color": style.color},
    }


def _curve_words(curve: LayerCurve) -> str:
    kind = "stable" if curve.stable else "original"
    known = [point.rmse for point in curve.points if math.isfinite(point.rmse)]
    if not known:
        return f"{curve.name} ({kind}): no values."
    return (
        f"{curve.name} ({kind}): from {general(known[0])} at the first to {general(known[-1])} "
        f"at the last of {len(known)} layers."
    )


def _has_both(row: ModelRow, target: str) -> bool:
    return target in row.latency and share(row.accuracy.get(target)) is not None


def _row_trace(row: ModelRow, targets: Sequence[str], style: Style) -> Json:
    shown = [target for target in targets if _has_both(row, target)]
    accuracy = [row.accuracy[target] for target in shown]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label(row.name),
        "legendgroup": "models",
        "x": [to_plain(row.latency[target].p50_ms) for target in shown],
        "y": [100 * a.fraction for a in accuracy],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [100 * (a.high - a.fraction) for a in accuracy],
            "arrayminus": [100 * (a.fraction - a.low) for a in accuracy],
            "color": style.color,
            "thickness": 1,
            "width": 3,
        },
        "customdata": [
            [
                label(target),
                percent(a.low),
                percent(a.high),
                milliseconds(row.latency[target].p50_ms),
            ]
            for target, a in zip(shown, accuracy, strict=True)
        ],
        "hovertemplate": "<b>%{customdata[0]}</b><br>"
        "%{y:.2f} % (%{customdata[1]} to %{customdata[2]})<br>"
        "p50 %{customdata[3]} ms<extra>%{fullData.name}</extra>",
        "marker": {
            "symbol": [_target_symbol(t, targets, hollow=not row.stable) for t in shown],
            "size": 10,
            "color": style.color,
        },
    }


def _target_key(target: str, targets: Sequence[str]) -> Json:
    """An entry of the legend that has no point of its own: it says which mark is which target."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label(target),
        "legendgroup": "targets",
        "hoverinfo": "skip",
        "x": [None],
        "y": [None],
        "marker": {
            "symbol": _target_symbol(target, targets, hollow=False),
            "size": 10,
            "color": "#808080",
        },
    }


def _target_symbol(target: str, targets: Sequence[str], *, hollow: bool) -> str:
    symbol = SYMBOLS[list(targets).index(target) % len(SYMBOLS)]
    return f"{symbol}-open" if hollow else symbol


def _point_words(row: ModelRow, target: str) -> str:
    return (
        f"{row.name} on {target}: {percent(row.accuracy[target].fraction)} % at "
        f"{milliseconds(row.latency[target].p50_ms)} ms."
    )
