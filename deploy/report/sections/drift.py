"""Drift along the depth of a network, by layer and by step of the chain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.report.blocks import figure, folded, in_turn, paragraph, several, table
from edgeq.deploy.report.charts.plots import Series, lines_chart, small_histogram, swatch
from edgeq.deploy.report.documents import mapping, number, of_kind, records, text, whole
from edgeq.deploy.report.markup import NOTHING, Content, Markup
from edgeq.deploy.report.values import (
    MISSING,
    count,
    decibels,
    further_cells,
    further_headings,
    general,
    metric,
    short,
    steps,
)
from edgeq.metrics.drift import LSB_LIMIT
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeq.deploy.report.documents import Document
    from edgeq.plain import Json

MOST_LINES = 12
"""Lines of a chart, those that add most; the tables have all."""


def section(documents: Sequence[Document]) -> Markup:
    """The steps of each comparison, and the layers of each step."""
    return in_turn(
        (document.label, _comparison(document)) for document in of_kind(documents, "compare")
    )


def _comparison(document: Document) -> Markup:
    hops = records(document.main.get("hops"))
    if not hops:
        return NOTHING
    layered = [hop for hop in hops if records(hop.get("tensors"))]
    return several(
        _figure(document, layered) if layered else NOTHING,
        table(
            document.titled("what each step of the chain adds at the network's output"),
            ("from", "to", "because of", "off by LSB", *_HEADINGS, *further_headings("report")),
            [
                (
                    text(hop.get("source")),
                    text(hop.get("stage")),
                    text(hop.get("cause")),
                    _pooled(hop),
                    *_figures(mapping(hop.get("output"))),
                )
                for hop in hops
            ],
            words=4,
        ),
        *_without(hops),
        *(_layers(hop) for hop in layered),
        *(_degrees(document, hop) for hop in hops if records(hop.get("degrees"))),
    )


def _degrees(document: Document, hop: Mapping[str, Json]) -> Markup:
    """The error of a graph's nodes, by how many neighbours they have."""
    return table(
        document.titled(
            f"error of nodes by their degree, {text(hop.get('source'))} → {text(hop.get('stage'))}"
        ),
        ("neighbours, at least", "at most", "nodes", "MSE", "SQNR (dB)"),
        [
            (
                count(whole(each.get("low"))),
                count(whole(each.get("high"))),
                count(whole(each.get("nodes"))),
                general(number(each.get("mse"))),
                "equal" if number(each.get("mse")) == 0 else decibels(number(each.get("sqnr_db"))),
            )
            for each in records(hop.get("degrees"))
        ],
    )


_HEADINGS = ("SQNR (dB)", "RMSE", "largest")


def _figures(drift: Mapping[str, Json]) -> tuple[str, ...]:
    """Its figures; an SQNR of null beside an error of zero is infinite."""
    equal = number(drift.get("mse")) == 0
    metrics = {
        name: float(value) for name, value in drift.items() if isinstance(value, int | float)
    }
    return (
        "equal" if equal else decibels(number(drift.get("sqnr_db"))),
        general(number(drift.get("rmse"))),
        general(number(drift.get("max_abs"))),
        *further_cells(metrics, "report"),
    )


def _lsb(drift: Mapping[str, Json]) -> dict[int, int]:
    return {int(step): whole(n) or 0 for step, n in mapping(drift.get("lsb")).items()}


def _pooled(hop: Mapping[str, Json]) -> str:
    total: dict[int, int] = {}
    largest = 0
    for drift in records(hop.get("tensors")):
        for step, n in _lsb(drift).items():
            total[step] = total.get(step, 0) + n
        largest = max(largest, whole(drift.get("max_lsb")) or 0)
    return steps(total, largest) if total else ""


def _without(hops: Sequence[Mapping[str, Json]]) -> Iterator[Markup]:
    for hop in hops:
        why = text(hop.get("without_tensors"))
        if why:
            yield paragraph(
                f"{text(hop.get('source'))} → {text(hop.get('stage'))}: "
                f"no layers are compared: {why}",
                class_="soft",
            )


def noise(drift: Mapping[str, Json]) -> float:
    """The error as a share of the signal, in per cent; zero where equal."""
    sqnr = number(drift.get("sqnr_db"))
    return 0.0 if sqnr != sqnr else 100 * float(10 ** (-sqnr / 20))


def _figure(document: Document, hops: Sequence[Mapping[str, Json]]) -> Markup:
    ranked = sorted(hops, key=lambda hop: -max(map(noise, records(hop.get("tensors")))))
    shown = [hop for hop in hops if hop in ranked[:MOST_LINES]]
    names = list(
        dict.fromkeys(
            text(drift.get("tensor")) for hop in hops for drift in records(hop.get("tensors"))
        )
    )
    depth = {
        text(d.get("tensor")): number(d.get("depth"))
        for hop in hops
        for d in records(hop.get("tensors"))
    }
    names.sort(key=lambda name: depth[name])
    place = {name: float(n) for n, name in enumerate(names)}
    series = [
        Series(
            text(hop.get("cause")),
            sorted((place[text(d.get("tensor"))], noise(d)) for d in records(hop.get("tensors"))),
            number_,
        )
        for number_, hop in enumerate(shown)
    ]
    drawn = [each for each in series if any(y > 0 for _, y in each.points)]
    equal = [hop for hop, each in zip(shown, series, strict=True) if each not in drawn]
    key: list[Content] = [
        swatch(each.number, f"{text(hop.get('stage'))}: {each.name}")
        for hop, each in zip(shown, series, strict=True)
        if each in drawn
    ]
    key += [f"= {text(hop.get('stage'))}: every layer is equal" for hop in equal]
    worst = max(
        ((text(d.get("tensor")), noise(d)) for hop in hops for d in records(hop.get("tensors"))),
        key=lambda each: each[1],
    )
    behind = table(
        document.titled("SQNR of each layer in dB, by the step of the chain"),
        ("layer", *(text(hop.get("stage")) for hop in hops)),
        [(name, *(_at(hop, name) for hop in hops)) for name in names],
    )
    if not drawn:
        return several(
            paragraph(document.titled("every layer is equal at every step.")),
            folded("The same in numbers", behind),
        )
    return figure(
        document.titled("error that each step adds, layer by layer, as a share of the signal"),
        lambda width: lines_chart(
            width,
            drawn,
            x_title="layer, from the input on",
            y_title="error / signal (%)",
            log=True,
            x_names=names,
            note=(short(worst[0]), place[worst[0]], worst[1]) if worst[1] > 0 else None,
        ),
        behind,
        words=f"Error by layer. Largest: {worst[1]:.3g} % at {worst[0]}. "
        + "; ".join(f"{text(hop.get('stage'))}: {_range(hop)}" for hop in shown),
        key=key,
        readout=True,
    )


def _range(hop: Mapping[str, Json]) -> str:
    found = [noise(drift) for drift in records(hop.get("tensors"))]
    return f"{found[0]:.3g} % at the first layer, {found[-1]:.3g} % at the last"


def _at(hop: Mapping[str, Json], name: str) -> str:
    drift = next((d for d in records(hop.get("tensors")) if text(d.get("tensor")) == name), None)
    if drift is None:
        return MISSING
    return "equal" if number(drift.get("mse")) == 0 else decibels(number(drift.get("sqnr_db")))


def _layers(hop: Mapping[str, Json]) -> Markup:
    tensors = records(hop.get("tensors"))
    different = [drift for drift in tensors if number(drift.get("mse")) != 0]
    title = (
        f"{text(hop.get('source'))} → {text(hop.get('stage'))}: "
        f"{counted(len(different), 'layer', 'differ', of=len(tensors))}"
    )
    if not different:
        return paragraph(title, class_="soft")
    return folded(
        title,
        table(
            f"Layers of {title}",
            (
                "layer",
                "off by",
                "steps of difference (values)",
                "values",
                *_HEADINGS,
                *further_headings("report"),
            ),
            [
                (
                    text(drift.get("tensor")),
                    histogram(_lsb(drift)),
                    steps(_lsb(drift), whole(drift.get("max_lsb"))),
                    count(whole(drift.get("elements"))),
                    *_figures(drift),
                )
                for drift in tensors
            ],
            words=3,
        ),
    )


def histogram(lsb: Mapping[int, int]) -> Markup:
    """How many values are off by how many steps, as bars."""
    if not any(n for step, n in lsb.items() if step):
        return NOTHING
    span = range(-LSB_LIMIT, LSB_LIMIT + 1)
    total = sum(lsb.values())
    equal = metric(100 * lsb.get(0, 0) / total, ".4g") if total else MISSING
    return small_histogram([(str(step), lsb.get(step, 0)) for step in span], f"{equal} % are equal")
