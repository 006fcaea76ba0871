"""The report as one HTML file that needs no network: plotly.js, about 4.8 MB, lies in it.

Two locks keep foreign names from doing anything: every value is escaped where it is shown, and a
content security policy lets the browser run only the two scripts written here, by their hashes, and
load nothing at all.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from edgeq.deploy.report import values
from edgeq.deploy.report.figures import Figure, curve_figure, scatter_figure
from edgeq.deploy.report.hop_figures import (
    all_drifts,
    comparison_figures,
    hop_name,
)
from edgeq.metrics import further_metrics
from edgeq.metrics.drift import pooled_mse

if TYPE_CHECKING:
    from jinja2 import Environment

    from edgeq.deploy.report.content import Report
    from edgeq.results import Comparison
    from edgeq.timing import Latency


@dataclass(frozen=True, slots=True)
class ComparisonPart:
    """A comparison with its label and plots, as the template lays them out."""

    label: str
    comparison: Comparison
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class LatencyLine:
    """One line of the latency table; None where a line of the headline does not say."""

    artefact: str
    target: str
    kind: str
    threads: int | None
    batch: int | None
    size_bytes: int | None
    latency: Latency


def render_html(report: Report) -> str:
    """The report as a page of one file, about 5 MB, nearly all of it plotly.js.

    It is readable without scripts (each plot has its numbers in a table), on narrow screens, in the
    dark and on paper.
    """
    from plotly.offline import get_plotlyjs

    plotly_js: str = get_plotlyjs()
    page_js = _asset("page.js")
    curves, scatter = curve_figure(report), scatter_figure(report)
    parts = [
        ComparisonPart(label, comparison, comparison_figures(f"comparison-{number}", comparison))
        for number, (label, comparison) in enumerate(report.comparisons, start=1)
    ]
    figures = [figure for figure in (curves, scatter) if figure] + [
        figure for part in parts for figure in part.figures
    ]
    return (
        _environment()
        .from_string(_asset("template.html.j2"))
        .render(
            report=report,
            curve_figure=curves,
            scatter_figure=scatter,
            parts=parts,
            latency_lines=latency_lines(report),
            specs={
                figure.key: {"data": figure.traces, "layout": figure.layout} for figure in figures
            },
            style=_asset("style.css"),
            plotly_js=plotly_js,
            page_js=page_js,
            script_hashes=" ".join(_hash(script) for script in (plotly_js, page_js)),
        )
    )


def latency_lines(report: Report) -> list[LatencyLine]:
    """Every profile, measured ones first, and what the headline shows beside them."""
    order = {"measured": 0, "simulated": 1, "estimated": 2}
    profiles = sorted(report.profiles, key=lambda profile: order.get(profile.kind, len(order)))
    lines = [
        LatencyLine(p.artefact, p.target, p.kind, p.threads, p.batch, p.size_bytes, p.latency)
        for p in profiles
    ]
    known = [line.latency for line in lines]
    rest = [
        (row, target, latency)
        for row in report.rows
        for target, latency in row.latency.items()
        if latency not in known
    ]
    return [
        LatencyLine(row.name, target, "measured", None, None, None, latency)
        for row, target, latency in rest
    ] + lines


def _environment() -> Environment:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_function"] = _dumps
    shown = (
        values.metric,
        values.general,
        values.percent,
        values.decibels,
        values.milliseconds,
        values.count,
        values.kilobytes,
        values.share,
    )
    environment.filters.update(
        {function.__name__: function for function in (*shown, pooled_mse, values.steps)}
    )
    environment.globals.update(hop_name=hop_name, all_drifts=all_drifts, missing=values.MISSING)
    environment.globals.update(pooled_steps=values.pooled_steps, further_metrics=further_metrics)
    return environment


def _dumps(value: object, **_options: object) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _asset(name: str) -> str:
    return resources.files("edgeq.deploy.report").joinpath(name).read_text("utf-8")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
