"""Accuracy against latency, and against size, with the front that nothing beats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.report.blocks import figure, several, table
from edgeq.deploy.report.charts.plots import Series, points_chart, swatch
from edgeq.deploy.report.documents import figure as judged
from edgeq.deploy.report.documents import (
    figure_name,
    mapping,
    number,
    of_kind,
    records,
    stage_name,
    text,
    whole,
)
from edgeq.deploy.report.markup import NOTHING, Markup, join
from edgeq.deploy.report.sections.latency import profiles_of, trusted
from edgeq.deploy.report.values import milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgeq.deploy.report.documents import Document
    from edgeq.plain import Json

Point = tuple[str, float, float]
"""Name, cost and figure."""


def section(documents: Sequence[Document]) -> Markup:
    """For figures on the same samples, a chart of size, and one of trustworthy latency."""
    groups: dict[tuple[str, str], list[dict[str, Json]]] = {}
    for document in of_kind(documents, "compare", "survey"):
        key = (text(document.main.get("data")), text(document.main.get("samples")))
        stages = records(document.main.get("stages"))
        stages += [
            {**row, "artefact": row.get("network")} for row in records(document.main.get("rows"))
        ]
        groups.setdefault(key, []).extend(stages)
    times = {
        stage_name(each): number(mapping(each.get("latency")).get("p50_ms"))
        for document in of_kind(documents, "profile", "survey")
        for each in profiles_of(document)
        if trusted(each)
    }
    return join(_group(stages, times, *key) for key, stages in groups.items())


def _group(
    stages: Sequence[Mapping[str, Json]], times: Mapping[str, float], data: str, samples: str
) -> Markup:
    found = {
        stage_name(stage): value[0] for stage in stages if (value := judged(stage)) is not None
    }
    by_time = [(name, times[name], value) for name, value in found.items() if name in times]
    title, on = figure_name(stages), f"on {samples} samples of {data}"
    return several(
        _chart(
            f"Accuracy against latency, {on}", by_time, "median latency (ms)", title, milliseconds
        ),
        _chart(f"Accuracy against size, {on}", _files(stages), "size (kB)", title, _kilobytes),
    )


def _kilobytes(size: float) -> str:
    return f"{size:,.1f}"


def _files(stages: Sequence[Mapping[str, Json]]) -> list[Point]:
    """Each file once, with the least figure of all its targets."""
    found: dict[str, Point] = {}
    for stage in stages:
        value, size = judged(stage), whole(stage.get("size_bytes"))
        name = text(stage.get("artefact"))
        if value is None or not size:
            continue
        if name not in found or value[0] < found[name][2]:
            found[name] = (name, size / 1000, value[0])
    return list(found.values())


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in cost and figure, cheapest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda each: (each[1], -each[2])):
        if not best or point[2] > best[-1][2]:
            best.append(point)
    return best


def _chart(
    title: str, points: Sequence[Point], x: str, y: str, shown: Callable[[float], str]
) -> Markup:
    if len({cost for _, cost, _ in points}) < 2:
        return NOTHING
    on_front = front(points)
    series = [Series(name, [(cost, value)], n) for n, (name, cost, value) in enumerate(points)]
    names = [name for name, _, _ in on_front]
    return figure(
        f"{title}: up and to the left is better; the line joins what nothing else beats",
        lambda width: points_chart(
            width,
            series,
            x_title=x,
            y_title=y,
            front=[(cost, value) for _, cost, value in on_front],
        ),
        table(
            title,
            ("what", "on the front", x, y),
            [
                (name, "yes" if name in names else "no", shown(cost), f"{value:.2f}")
                for name, cost, value in points
            ],
            words=2,
        ),
        words=f"{title}. Nothing beats {', '.join(names)}.",
        key=[swatch(each.number, each.name, line=False) for each in series],
    )
