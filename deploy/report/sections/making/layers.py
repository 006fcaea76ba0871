"""A calibration layer by layer: what each costs, how far its channels reach, what they hold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeq.deploy.report.blocks import facts, figure, folded, paragraph, several, table
from edgeq.deploy.report.charts.distributions import histogram_chart, ranges_chart
from edgeq.deploy.report.charts.plots import Series, lines_chart, swatch
from edgeq.deploy.report.documents import mapping, number, of_kind, records, text, texts, whole
from edgeq.deploy.report.markup import NOTHING, Markup, element, join
from edgeq.deploy.report.values import MISSING, count, decibels, general, kilobytes, percent
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeq.deploy.report.documents import Document
    from edgeq.plain import Json

_COLOURS = {"in the file": 0, "folded": 1, "after methods": 2, "activations": 3, "stored": 4}
"""Things that have the same colour in each chart."""
_NOISE = {"whole": "sqnr_db", "weights": "weight_sqnr_db", "activations": "activation_sqnr_db"}


def section(documents: Sequence[Document]) -> Markup:
    """Each calibration."""
    return join(_calibration(document) for document in of_kind(documents, "calibrate"))


def _calibration(document: Document) -> Markup:
    content = document.content
    costs = records(content.get("layers"))
    told = texts(content.get("told"))
    return several(
        facts(_facts(content)),
        _overview(document.layers, costs) if document.layers else NOTHING,
        _costs(document, costs) if costs else NOTHING,
        *_details(document, costs),
        folded("What was said", element("pre", "\n".join(told), tabindex=0)) if told else NOTHING,
    )


def _facts(content: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    made, size = text(content.get("path")), kilobytes(whole(content.get("size_bytes")))
    yield "file", f"{made}, {size} kB" if made else text(content.get("statistics"))
    samples = counted(whole(content.get("samples")) or 0, "sample")
    yield (
        "ranges",
        f"over {samples} of {text(content.get('data')) or 'the data'}"
        + (f", found by {text(content.get('observer'))}" if content.get("observer") else ""),
    )
    if made:
        yield "scheme", text(content.get("scheme"))
        yield "weights", text(content.get("weight_method"))
        yield "methods", ", ".join(texts(content.get("methods"))) or "none"
        if content.get("not_judged"):
            yield "not judged", text(content.get("not_judged"))


def _decibels(cost: Mapping[str, Json], name: str) -> str:
    """An SQNR; JSON has no infinity, which is what equal tensors have."""
    if name == "activation_sqnr_db" and not cost.get("tensor"):
        return ""
    return decibels(math.inf if cost.get(name) is None else number(cost.get(name)))


def _costs(document: Document, costs: Sequence[Mapping[str, Json]]) -> Markup:
    return table(
        document.titled("what each layer costs, where only that layer is quantised"),
        (
            "layer",
            "operator",
            "what costs most",
            "SQNR (dB)",
            "weights (dB)",
            "activations (dB)",
            "clipped (%)",
            "at an end (%)",
            "dead channels",
        ),
        [
            (
                text(cost.get("layer")),
                text(cost.get("op_type")),
                text(cost.get("reason")),
                *(_decibels(cost, name) for name in _NOISE.values()),
                percent(number(cost.get("clipped"))),
                percent(number(cost.get("saturated"))),
                f"{count(whole(cost.get('dead')))} of {count(whole(cost.get('channels')))}",
            )
            for cost in costs
        ],
        words=3,
    )


def _overview(layers: Sequence[Mapping[str, Json]], costs: Sequence[Mapping[str, Json]]) -> Markup:
    """SQNR, average precision and what is lost at the ends of grids, over the layers."""
    by_name = {text(cost.get("layer")): cost for cost in costs}
    names = [text(layer.get("layer")) for layer in layers]
    mine = [by_name.get(name, {}) for name in names]
    precision = {
        stage: [number(mapping(layer.get("average_precision")).get(stage)) for layer in layers]
        for stage in _COLOURS
        if any(stage in mapping(layer.get("average_precision")) for layer in layers)
    }
    noise = {
        name: [
            number(cost.get(key)) if cost.get("tensor") or key != "activation_sqnr_db" else math.nan
            for cost in mine
        ]
        for name, key in _NOISE.items()
    }
    lost = {
        "clipped": [100 * number(cost.get("clipped")) for cost in mine],
        "at an end": [100 * number(cost.get("saturated")) for cost in mine],
    }
    return several(
        _over_layers(
            "Sensitivity: how near each result stays to float where only that layer is quantised; "
            "lower costs more",
            names,
            noise,
            "SQNR (dB)",
        ),
        _over_layers(
            "Average precision: the mean range of a channel by the range of its tensor (Yun and "
            "Wong, Eq. 2); near 0 most channels share a few steps of a grid for the whole tensor",
            names,
            precision,
            "average precision",
        ),
        _over_layers(
            "Values of each result that lie beyond its grid, and at either end of it",
            names,
            lost,
            "values (%)",
        ),
    )


def _over_layers(
    title: str, names: Sequence[str], found: Mapping[str, Sequence[float]], y_title: str
) -> Markup:
    series = [
        Series(
            name, [(float(n), value) for n, value in enumerate(values)], _COLOURS.get(name, place)
        )
        for place, (name, values) in enumerate(found.items())
    ]
    known = {
        name: [value for value in values if math.isfinite(value)] for name, values in found.items()
    }
    words = "; ".join(
        f"{name}: {general(min(each))} to {general(max(each))}"
        for name, each in known.items()
        if each
    )
    return figure(
        title,
        lambda width: lines_chart(
            width, series, x_title="layer, from the input on", y_title=y_title, x_names=names
        ),
        table(
            f"{y_title} of each layer",
            ("layer", *found),
            [
                (name, *(general(value) if math.isfinite(value) else MISSING for value in values))
                for name, *values in zip(names, *found.values(), strict=True)
            ],
        ),
        words=f"{y_title} over {counted(len(names), 'layer')}. {words}",
        key=[swatch(each.number, each.name) for each in series],
        readout=True,
    )


def _details(document: Document, costs: Sequence[Mapping[str, Json]]) -> Iterator[Markup]:
    """The layers that are drawn one by one, the most costly first."""
    drawn = {text(layer.get("layer")): layer for layer in document.layers if layer.get("weights")}
    shown = [cost for cost in costs if text(cost.get("layer")) in drawn]
    if shown:
        yield element("h3", "Layer by layer")
        yield paragraph(
            f"{counted(len(shown), 'layer')} that cost most, the most costly first. Dashed lines "
            "are the ends of the grid.",
            class_="soft",
        )
    for place, cost in enumerate(shown):
        name = text(cost.get("layer"))
        yield folded(
            f"{name}: {_decibels(cost, 'sqnr_db')} dB; {text(cost.get('reason'))}",
            element("div", *_charts(name, drawn[name]), class_="pair"),
            open_=place == 0,
        )


def _charts(name: str, layer: Mapping[str, Json]) -> Iterator[Markup]:
    channels = whole(layer.get("channels")) or 0
    weights = {stage: _pairs(rows) for stage, rows in mapping(layer.get("weights")).items()}
    yield _ranges(f"Weights of {name}", "weight", weights, channels)
    yield _histogram(f"Weights of {name}", "weight", mapping(layer.get("weight_values")), None)
    results = _pairs(layer.get("results"))
    if results:
        made = whole(layer.get("result_channels")) or 0
        yield _ranges(f"Activations of {name}", "activation", {"activations": results}, made)
    if layer.get("result_values"):
        ends = layer.get("grid")
        grid = (number(ends[0]), number(ends[1])) if isinstance(ends, list) else None
        values = mapping(layer.get("result_values"))
        yield _histogram(f"Activations of {name}", "activation", values, grid)


def _pairs(rows: Json) -> list[tuple[float, float]]:
    listed = rows if isinstance(rows, list) else []
    return [(number(row[0]), number(row[1])) for row in listed if isinstance(row, list)]


def _ranges(
    title: str, what: str, stages: Mapping[str, Sequence[tuple[float, float]]], channels: int
) -> Markup:
    shown = max(map(len, stages.values()), default=0)
    if not shown:
        return NOTHING
    numbers = {name: _COLOURS.get(name, n) for n, name in enumerate(stages)}
    x_title = "channel" if shown == channels else f"{shown} of {channels:,} channels"
    return figure(
        f"{title}: least and greatest by channel",
        lambda width: ranges_chart(width, stages, numbers, x_title=x_title, y_title=what),
        table(
            f"{title}: least and greatest of each channel",
            ("channel", *(f"{name}, {end}" for name in stages for end in ("least", "greatest"))),
            [
                (str(n), *(general(end) for each in stages.values() for end in each[n]))
                for n in range(shown)
                if all(n < len(each) for each in stages.values())
            ],
        ),
        words=f"{title}: ranges of {shown} channels"
        + "".join(
            f"; {name} {general(min(low for low, _ in each))} to "
            f"{general(max(high for _, high in each))}"
            for name, each in stages.items()
        ),
        key=[swatch(numbers[name], name, line=False) for name in stages],
    )


def _histogram(
    title: str, what: str, found: Mapping[str, Json], ends: tuple[float, float] | None
) -> Markup:
    listed = found.get("edges")
    edges = [number(edge) for edge in listed] if isinstance(listed, list) else []
    counts = {
        name: [number(each) for each in row]
        for name, row in mapping(found.get("counts")).items()
        if isinstance(row, list) and len(row) == len(edges) - 1
    }
    if not counts:
        return NOTHING
    numbers = {name: n for n, name in enumerate(counts)}
    return figure(
        f"{title}: how often values occur",
        lambda width: histogram_chart(width, edges, counts, numbers, x_title=what, ends=ends),
        table(
            f"{title}: values in each bin",
            (f"{what} from", *counts),
            [
                (general(edge), *(f"{int(each[n]):,}" for each in counts.values()))
                for n, edge in enumerate(edges[:-1])
            ],
        ),
        words=f"{title}: values from {general(edges[0])} to {general(edges[-1])}"
        + (f"; the grid from {general(ends[0])} to {general(ends[1])}" if ends else ""),
        key=[swatch(numbers[name], name) for name in counts],
    )
