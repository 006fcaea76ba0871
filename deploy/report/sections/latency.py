"""Latency: what is trustworthy is drawn, all else is told with its reason."""

from __future__ import annotations

import math
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from edgeq.deploy.report.blocks import figure, folded, light, several, table
from edgeq.deploy.report.charts.plots import Interval, intervals_chart, small_histogram
from edgeq.deploy.report.documents import (
    mapping,
    number,
    of_kind,
    records,
    stage_name,
    text,
    whole,
)
from edgeq.deploy.report.markup import NOTHING, Markup, join
from edgeq.deploy.report.values import count, general, kilobytes, milliseconds, percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.deploy.report.documents import Document
    from edgeq.plain import Json

BINS = 15


def section(documents: Sequence[Document]) -> Markup:
    """The profiles of each document that has some."""
    return join(_profiles(document) for document in of_kind(documents, "profile", "survey"))


def profiles_of(document: Document) -> list[dict[str, Json]]:
    """The latencies in a document."""
    if document.kind == "profile":
        return records(document.main.get("profiles"))
    rows = records(document.main.get("rows"))
    return [mapping(row.get("profile")) for row in rows if row.get("profile")]


def trusted(profile: Mapping[str, Json]) -> bool:
    """Whether a time is one of the device's own, and its percentiles hold."""
    trust = mapping(mapping(profile.get("latency")).get("trust"))
    return text(profile.get("kind")) == "measured" and bool(trust.get("clock"))


def speed_ups(document: Document) -> list[dict[str, Json]]:
    """The ratios that hold: of stages whose times were taken in turns."""
    holds = {
        stage_name(each)
        for each in profiles_of(document)
        if mapping(mapping(each.get("latency")).get("trust")).get("ratios")
    }
    return [
        each
        for each in records(document.main.get("speed_ups"))
        if stage_name(each) in holds and mapping(each.get("times"))
    ]


def processor_ms(profile: Mapping[str, Json]) -> float:
    """The median processor time of a run; NaN where it does not hold."""
    latency = mapping(profile.get("latency"))
    blocks = latency.get("processor_blocks_ms")
    if not mapping(latency.get("trust")).get("processor_time") or not isinstance(blocks, list):
        return math.nan
    return median(map(number, blocks)) if blocks else math.nan


def _profiles(document: Document) -> Markup:
    profiles = profiles_of(document)
    if not profiles:
        return NOTHING
    good = [each for each in profiles if trusted(each)]
    others = [each for each in profiles if not trusted(each)]
    return several(
        _figure(document, good) if good else NOTHING,
        _ratios(document),
        _processor_figure(document, others),
        folded(
            f"{len(others)} more: simulated, estimated, or not to be trusted",
            _untrusted(document.titled("times that are not drawn"), others),
        )
        if others
        else NOTHING,
    )


def _untrusted(title: str, profiles: Sequence[Mapping[str, Json]]) -> Markup:
    return table(
        title,
        ("stage", "is", "why", "runs", "p50 (ms)", "processor (ms)", "kB"),
        [
            (
                stage_name(each),
                light(
                    "none",
                    "not trusted" if (kind := text(each.get("kind"))) == "measured" else kind,
                ),
                text(mapping(mapping(each.get("latency")).get("trust")).get("why")),
                count(whole(mapping(each.get("latency")).get("runs"))),
                milliseconds(_ms(each, "p50_ms")),
                milliseconds(took) if math.isfinite(took := processor_ms(each)) else "",
                kilobytes(whole(each.get("size_bytes"))),
            )
            for each in profiles
        ],
        words=3,
    )


def _figure(document: Document, profiles: Sequence[Mapping[str, Json]]) -> Markup:
    rows = []
    for each in sorted(profiles, key=lambda one: _ms(one, "p50_ms")):
        p50 = _ms(each, "p50_ms")
        rows.append(
            Interval(
                stage_name(each),
                p50,
                _ms(each, "min_ms"),
                _ms(each, "p90_ms"),
                "good",
                f"{milliseconds(p50)} ms",
            )
        )
    return figure(
        document.titled("time of one run; the mark is the median, the bar from the fastest to p90"),
        lambda width: intervals_chart(width, rows, x_title="ms"),
        _table(document.titled("trustworthy times"), profiles),
        words="Median time of one run: " + "; ".join(f"{row.name} {row.shown}" for row in rows),
    )


def _ratios(document: Document) -> Markup:
    """How many times as fast each is, which a busy machine still tells."""
    found = speed_ups(document)
    charts = []
    for base in dict.fromkeys(_base(each) for each in found):
        mine = [each for each in found if _base(each) == base]
        rows = [
            Interval(
                stage_name(each),
                value,
                low,
                high,
                "good" if low > 1 else "look" if high < 1 else "none",
                f"{value:.3f}",
            )
            for each in mine
            for value, low, high in (_interval(each, "times"),)
        ]
        title = document.titled(f"times as fast as {base}, paired by rounds, with 95 % intervals")
        behind = table(
            title,
            ("stage", "times as fast", "from", "to", "by processor time", "from", "to"),
            [
                (
                    stage_name(each),
                    *(f"{figure_:.3f}" for figure_ in _interval(each, "times")),
                    *(
                        "" if math.isnan(figure_) else f"{figure_:.3f}"
                        for figure_ in _interval(each, "processor_times")
                    ),
                )
                for each in mine
            ],
        )
        charts.append(
            figure(
                title,
                partial(intervals_chart, rows=rows, x_title="times as fast"),
                behind,
                words="; ".join(f"{row.name} {row.shown}" for row in rows),
            )
        )
    return join(charts)


def _base(ratio: Mapping[str, Json]) -> str:
    return f"{text(ratio.get('base'))} @ {text(ratio.get('base_target'))}"


def _interval(ratio: Mapping[str, Json], name: str) -> tuple[float, float, float]:
    known = mapping(ratio.get(name))
    return number(known.get("value")), number(known.get("low")), number(known.get("high"))


def _processor_figure(document: Document, profiles: Sequence[Mapping[str, Json]]) -> Markup:
    """Processor time where the clock cannot be trusted: what a busy machine still tells."""
    known = sorted(
        (took, stage_name(each))
        for each in profiles
        if text(each.get("kind")) == "measured" and math.isfinite(took := processor_ms(each))
    )
    if not known:
        return NOTHING
    rows = [
        Interval(name, took, took, took, "none", f"{milliseconds(took)} ms") for took, name in known
    ]
    title = document.titled("processor time of one run, where the clock is not to be trusted")
    return figure(
        title,
        lambda width: intervals_chart(width, rows, x_title="ms of all processors together"),
        table(title, ("stage", "processor time (ms)"), [(row.name, row.shown) for row in rows]),
        words="; ".join(f"{row.name} {row.shown}" for row in rows),
    )


def _ms(profile: Mapping[str, Json], name: str) -> float:
    return number(mapping(profile.get("latency")).get(name))


def _table(title: str, profiles: Sequence[Mapping[str, Json]]) -> Markup:
    return table(
        title,
        (
            "stage",
            "blocks",
            "runs",
            "p50 (ms)",
            "p90",
            "p95",
            "p99",
            "mean",
            "least",
            "processor",
            "spread (%)",
            "drift (%)",
            "threads",
            "batch",
            "kB",
        ),
        [_cells(each) for each in profiles],
        words=2,
    )


def _cells(profile: Mapping[str, Json]) -> tuple[Markup | str, ...]:
    latency = mapping(profile.get("latency"))
    runs = whole(latency.get("runs"))
    names = ("p90_ms", "p95_ms", "p99_ms", "mean_ms", "min_ms")
    rest = [
        milliseconds(number(latency.get(name))) if runs and name in latency else ""
        for name in names
    ]
    return (
        stage_name(profile),
        distribution(latency),
        count(runs),
        milliseconds(number(latency.get("p50_ms"))),
        *rest,
        milliseconds(processor_ms(profile)) if math.isfinite(processor_ms(profile)) else "",
        percent(number(latency.get("spread"))) if runs else "",
        percent(number(latency.get("drift"))) if runs else "",
        general(number(profile.get("threads"))),
        general(number(profile.get("batch"))),
        kilobytes(whole(profile.get("size_bytes"))),
    )


def distribution(latency: Mapping[str, Json]) -> Markup:
    """How the medians of the blocks are spread, as bars from the least to the greatest."""
    blocks = latency.get("blocks_ms")
    taken = [number(each) for each in blocks] if isinstance(blocks, list) else []
    taken = [each for each in taken if math.isfinite(each)]
    if len(taken) < 3 or max(taken) == min(taken):
        return NOTHING
    low, width = min(taken), (max(taken) - min(taken)) / BINS
    bins = [0] * BINS
    for each in taken:
        bins[min(BINS - 1, int((each - low) / width))] += 1
    words = f"{len(taken)} blocks from {milliseconds(low)} to {milliseconds(max(taken))} ms"
    return small_histogram([("", n) for n in bins], words, middle=False)
