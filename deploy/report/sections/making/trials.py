"""Searches and sweeps: what was tried, and what nothing else beats."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeq.deploy.report.blocks import figure, folded, listed, several, table
from edgeq.deploy.report.charts.plots import Series, points_chart, swatch
from edgeq.deploy.report.documents import mapping, number, of_kind, records, text, whole
from edgeq.deploy.report.markup import NOTHING, Markup, element, join
from edgeq.deploy.report.values import count, decibels, general
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.deploy.report.documents import Document
    from edgeq.plain import Json


_FLOAT_BITS = 32


def section(documents: Sequence[Document]) -> Markup:
    """Each search, and each sweep."""
    return join(
        [
            *(_search(document) for document in of_kind(documents, "search")),
            *(_sweep(document) for document in of_kind(documents, "sweep")),
        ]
    )


def widths(precisions: Mapping[str, Json]) -> str:
    """How many layers have which precision: ``3 w4a8, 1 w8a8``."""
    counts: dict[str, int] = {}
    for each in precisions.values():
        name = precision(each)
        counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))


def precision(value: Json) -> str:
    """A precision as a person writes it: ``w4a8``, or ``float``."""
    told = mapping(value)
    weights, channels = whole(told.get("weight_bits")), told.get("channel_bits")
    if weights is None or weights >= _FLOAT_BITS:
        return "float"
    bits = [n for n in map(whole, channels) if n is not None] if isinstance(channels, list) else []
    differ = bits and min(bits) != max(bits)
    return f"w{f'{min(bits)}-{max(bits)}' if differ else weights}a{text(told.get('act_bits'))}"


def _search(document: Document) -> Markup:
    content = document.content
    return several(
        _trials(content),
        _sensitivities(content),
        folded("The scheme", element("pre", element("code", text(content["scheme"])), tabindex=0))
        if content.get("best") and content.get("scheme")
        else NOTHING,
    )


def _figures(trial: Mapping[str, Json]) -> tuple[float, float, float]:
    """Cost, score and SQNR; JSON has no infinity, which is what equal outputs have."""
    found = mapping(trial.get("figures"))
    sqnr = math.inf if found.get("sqnr_db") is None else number(found.get("sqnr_db"))
    return number(found.get("cost")), number(found.get("score")), sqnr


def _trials(content: Mapping[str, Json]) -> Markup:
    trials = records(content.get("trials"))
    if not trials:
        return NOTHING
    front = content.get("pareto")
    numbers = front if isinstance(front, list) else []
    best = mapping(content.get("best")).get("number")
    on_front = [each for each in trials if each.get("number") in numbers]
    others = [each for each in trials if each.get("number") not in numbers]
    cost = text(content.get("cost"))
    groups = {"not beaten": on_front, "beaten": others}
    series = [
        Series(name, [_figures(each)[:2] for each in group], place, hollow=bool(place))
        for place, (name, group) in enumerate(groups.items())
        if group
    ]
    ways = sorted(_figures(each)[:2] for each in on_front)
    behind = table(
        "What was tried, the cheapest first",
        ("trial", "layers", "on the front", "within the limit", cost, "score", "SQNR (dB)"),
        [
            (
                f"{text(each.get('number'))}{' (chosen)' if each.get('number') == best else ''}",
                widths(mapping(each.get("precisions"))),
                "yes" if each in on_front else "no",
                "yes" if each.get("kept") else "no",
                general(_figures(each)[0]),
                f"{_figures(each)[1]:.2f}",
                decibels(_figures(each)[2]),
            )
            for each in sorted(trials, key=lambda each: _figures(each)[0])
        ],
        words=4,
    )
    return figure(
        f"Score against {cost} of {counted(len(trials), 'trial')}: the line joins what "
        f"nothing else beats",
        lambda width: points_chart(
            width,
            series,
            x_title=cost,
            y_title="score",
            front=ways,
            log=all(_figures(each)[0] > 0 for each in trials),
        ),
        behind,
        words=f"{counted(len(on_front), 'trial', 'are', of=len(trials))} not beaten in "
        f"score and {cost}.",
        key=[swatch(each.number, each.name, line=False, hollow=each.hollow) for each in series],
    )


def _sensitivities(content: Mapping[str, Json]) -> Markup:
    found = records(content.get("sensitivities"))
    names = list(dict.fromkeys(text(each.get("precision")) for each in found))
    by = {(text(each.get("layer")), text(each.get("precision"))): each for each in found}
    rows = []
    for layer in records(content.get("layers")):
        name = text(layer.get("name"))
        mine = [by.get((name, each), {}) for each in names]
        lost = [number(each.get("drop")) for each in mine]
        known = [each for each in lost if math.isfinite(each)]
        cells = (
            name,
            text(layer.get("kind")),
            count(whole(layer.get("weights"))),
            count(whole(layer.get("macs"))),
            *(_lost(each) for each in lost),
        )
        rows.append((max(known, default=-math.inf), cells))
    if not found:
        return NOTHING
    rows.sort(key=lambda row: row[0], reverse=True)
    return table(
        "One layer quantised, all others in float: what is lost, the most sensitive first",
        ("layer", "operator", "weights", "MACs", *(f"lost at {name}" for name in names)),
        [cells for _, cells in rows],
        words=2,
    )


def _lost(points: float) -> str:
    """What a layer costs, with its sign; nothing is neither."""
    if not math.isfinite(points):
        return ""
    return f"{points:+.2f}" if round(points, 2) else "0.00"


def _sweep(document: Document) -> Markup:
    content = document.content
    result = mapping(content.get("result"))
    rows = records(result.get("rows"))
    names = list(dict.fromkeys(name for row in rows for name in mapping(row.get("parameters"))))
    told = dict.fromkeys(name for row in rows for name in mapping(row.get("figures")))
    figures = [name for name in told if "/" not in name]  # families of figures are for plots
    sources = list(dict.fromkeys(name for row in rows for name in mapping(row.get("published"))))
    failures = result.get("failures")
    failed = failures if isinstance(failures, list) else []
    return several(
        table(
            f"{text(content.get('title'))}: the mean over repeats ± half of its 95 % interval",
            (*names, "Pareto", *figures, *(f"{name}, published" for name in sources), "seconds"),
            [
                (
                    *(text(mapping(row.get("parameters")).get(name)) for name in names),
                    "best" if row.get("best") else "",
                    *(_mean(mapping(mapping(row.get("figures")).get(name))) for name in figures),
                    *(_published(mapping(row.get("published")).get(name)) for name in sources),
                    f"{number(row.get('seconds')):,.1f}",
                )
                for row in rows
            ],
            words=len(names) + 1,
        )
        if rows
        else NOTHING,
        _claims(records(result.get("decisions"))),
        listed(f"failed: {named(each[0])}: {text(each[1])}" for each in _pairs(failed))
        if failed
        else NOTHING,
    )


def _claims(decisions: Sequence[Mapping[str, Json]]) -> Markup:
    """Each claim of the sweep, and what its cells say of it."""
    if not decisions:
        return NOTHING
    return table(
        "Claims, tested over pairs of cells; p is how often chance alone gives such a mean",
        ("claim", "verdict", "pairs as claimed", "mean", "95 %", "p"),
        [
            (
                text(each.get("claim")),
                text(each.get("verdict")),
                f"{whole(each.get('as_claimed'))} of {whole(each.get('pairs'))}",
                f"{general(number(each.get('mean')))}{' times' if each.get('ratio') else ''}",
                _interval(number(each.get("low")), number(each.get("high"))),
                f"{number(each.get('chance')):.2g}",
            )
            for each in decisions
        ],
        words=2,
    )


def _interval(low: float, high: float) -> str:
    ends = math.isfinite(low) and math.isfinite(high)
    return f"{general(low)} to {general(high)}" if ends else ""


def _pairs(failures: Sequence[Json]) -> list[list[Json]]:
    return [each for each in failures if isinstance(each, list) and len(each) == 2]


def named(parameters: Json) -> str:
    """Parameters of a cell: ``bits = 4, seed = 0``."""
    return ", ".join(f"{name} = {text(value)}" for name, value in mapping(parameters).items())


def _mean(found: Mapping[str, Json]) -> str:
    if not found:
        return ""
    half = number(found.get("half_width"))
    more = f" ± {half:.2g}" if math.isfinite(half) else ""
    return f"{general(number(found.get('mean')))}{more}"


def _published(value: Json) -> str:
    told = {name: each for name, each in mapping(value).items() if "/" not in name}
    return ", ".join(f"{name} {general(number(each))}" for name, each in told.items())
