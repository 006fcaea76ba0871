"""The plots of one comparison.

Drift of each hop of the chain over depth, and its steps on the common grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.report.figures import (
    DRIFT_HOVER,
    Figure,
    axis_of,
    base_layout,
    hover_data,
    label,
    make_log,
)
from edgeq.deploy.report.palette import SERIES, SYMBOLS
from edgeq.deploy.report.values import general, percent, pooled_steps
from edgeq.metrics.drift import LSB_LIMIT
from edgeq.plain import Json, to_plain

if TYPE_CHECKING:
    from collections import Counter

    from edgeq.results import Comparison, Drift, Hop


def hop_name(number: int, hop: Hop) -> str:
    """A hop by its place in the chain, from 1, and its cause."""
    return f"{number}. {hop.cause}"


def all_drifts(hop: Hop) -> tuple[Drift, ...]:
    """Every tensor of a hop in graph order, the output among them once."""
    others = (tensor for tensor in hop.tensors if tensor.tensor != hop.output.tensor)
    return tuple(sorted((*others, hop.output), key=lambda drift: drift.depth))


def comparison_figures(key: str, comparison: Comparison) -> tuple[Figure, ...]:
    """Drift by layer, and the LSB histogram where a hop has a common grid.

    Args:
        key: a prefix for the figures' ids, unique on the page.
        comparison: the stages compared.
    """
    numbered = tuple(enumerate(comparison.hops, start=1))
    if not numbered:
        return ()
    drift = _drift_figure(key, numbered)
    gridded = tuple(
        (number, hop, counts)
        for number, hop in numbered
        if (counts := pooled_steps(all_drifts(hop))[0]).total()
    )
    return (drift, _lsb_figure(key, gridded)) if gridded else (drift,)


def _drift_figure(key: str, numbered: tuple[tuple[int, Hop], ...]) -> Figure:
    layout = base_layout("tensor (position in the graph)", "RMSE (real units)", height=420)
    make_log(layout, "yaxis")
    words = (f"{hop_name(number, hop)}: {general(hop.output.rmse)}." for number, hop in numbered)
    return Figure(
        key=f"{key}-drift",
        caption=(
            "Drift that each hop of the chain adds, tensor by tensor; the star is the "
            "network's output. "
            "Tensors that are equal have no place on a logarithmic axis."
        ),
        alt="RMSE added by each hop, at the output. " + " ".join(words),
        traces=[_drift_trace(number, hop) for number, hop in numbered],
        layout=layout,
        switch="yaxis",
    )


def _drift_trace(number: int, hop: Hop) -> Json:
    points = all_drifts(hop)
    color = SERIES[(number - 1) % len(SERIES)]
    symbol = SYMBOLS[(number - 1) % (len(SYMBOLS) - 1)]  # the last one, the star, is the output's
    is_output = [point is hop.output for point in points]
    exact = all(point.mse == 0 for point in points)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": label(hop_name(number, hop) + (" (equal)" if exact else "")),
        "x": [point.depth for point in points],
        "y": [to_plain(point.rmse) for point in points],
        "customdata": hover_data(points),
        "hovertemplate": DRIFT_HOVER,
        "line": {"color": color, "width": 1.5},
        "marker": {
            "color": color,
            "symbol": ["star" if output else symbol for output in is_output],
            "size": [13 if output else 6 for output in is_output],
        },
    }


def _lsb_figure(key: str, gridded: tuple[tuple[int, Hop, Counter[int]], ...]) -> Figure:
    layout = base_layout("difference (quantisation steps, LSB)", "values (%)", height=420)
    layout["barmode"] = "group"
    make_log(layout, "yaxis")
    axis_of(layout, "xaxis").update(_step_ticks(gridded))
    words = (
        f"{hop_name(number, hop)}: {percent(counts[0] / counts.total())} % equal."
        for number, hop, counts in gridded
    )
    largest = max((pooled_steps(all_drifts(hop))[1] or 0 for _, hop, _ in gridded), default=0)
    beyond = f"; the largest is ±{largest:,}" if largest > LSB_LIMIT else ""
    return Figure(
        key=f"{key}-lsb",
        caption=f"How many steps values on a common grid moved, by hop. Moves beyond {LSB_LIMIT} "
        f"steps are counted at {LSB_LIMIT}{beyond}.",
        alt="Histogram of differences in quantisation steps. " + " ".join(words),
        traces=[_lsb_trace(number, hop, counts) for number, hop, counts in gridded],
        layout=layout,
        switch="yaxis",
    )


def _step_ticks(gridded: tuple[tuple[int, Hop, Counter[int]], ...]) -> dict[str, Json]:
    reach = max(1, *(abs(step) for _, _, counts in gridded for step in counts))
    steps = list(range(-reach, reach + 1))
    ends = {-LSB_LIMIT: f"≤−{LSB_LIMIT}", LSB_LIMIT: f"≥{LSB_LIMIT}"}
    names = [ends.get(step, f"{step:+d}".replace("-", "−") if step else "0") for step in steps]
    return {
        "tickvals": [*steps],
        "ticktext": [*names],
        "tickangle": 0,
        "tickfont": {"size": 11},
        "range": [-reach - 0.6, reach + 0.6],
    }


def _lsb_trace(number: int, hop: Hop, counts: Counter[int]) -> Json:
    steps, total = sorted(counts), counts.total()
    return {
        "type": "bar",
        "name": label(hop_name(number, hop)),
        "x": [*steps],
        "y": [100 * counts[step] / total for step in steps],
        "customdata": [[f"{counts[step]:,}", f"{total:,}"] for step in steps],
        "hovertemplate": "%{x:+d} LSB: %{y:.4g} %<br>%{customdata[0]} of %{customdata[1]} "
        "values<extra>%{fullData.name}</extra>",
        "marker": {"color": SERIES[(number - 1) % len(SERIES)]},
    }
