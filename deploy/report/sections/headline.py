"""Trained networks side by side: widths, accuracy on each target, rounding error, size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeq.deploy.report.blocks import figure, listed, several, table
from edgeq.deploy.report.charts.plots import Series, lines_chart, swatch
from edgeq.deploy.report.documents import mapping, number, of_kind, records, text, texts, whole
from edgeq.deploy.report.markup import NOTHING, Markup, join
from edgeq.deploy.report.values import MISSING, count, decibels, general, kilobytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.deploy.report.documents import Document
    from edgeq.plain import Json


def section(documents: Sequence[Document]) -> Markup:
    """The networks of each demo."""
    return join(_networks(document) for document in of_kind(documents, "demo"))


def _networks(document: Document) -> Markup:
    rows, curves = records(document.main.get("rows")), records(document.main.get("curves"))
    return several(
        _rows(rows) if rows else NOTHING,
        _curves(curves) if curves else NOTHING,
        listed(texts(document.main.get("notes"))),
    )


def _name(record: Mapping[str, Json]) -> str:
    return f"{text(record.get('model'))} {text(record.get('scheme'))}"


def _rows(rows: Sequence[Mapping[str, Json]]) -> Markup:
    targets = list(dict.fromkeys(name for row in rows for name in mapping(row.get("accuracy"))))
    formats = list(dict.fromkeys(name for row in rows for name in mapping(row.get("size_bytes"))))
    return table(
        "Accuracy (%) on each target, error of rounding activations, and size",
        (
            "network",
            *targets,
            "rounding error (RMSE)",
            "SQNR to FP32 (dB)",
            *(f"{name} (kB)" for name in formats),
            "parameters",
        ),
        [
            (
                _name(row),
                *(_share(mapping(mapping(row.get("accuracy")).get(target))) for target in targets),
                general(number(row.get("activation_rmse"))) if row.get("activation_rmse") else "",
                decibels(number(row.get("sqnr_db"))) if row.get("sqnr_db") else "",
                *(kilobytes(whole(mapping(row.get("size_bytes")).get(name))) for name in formats),
                count(whole(row.get("parameters"))),
            )
            for row in rows
        ],
    )


def _share(accuracy: Mapping[str, Json]) -> str:
    total = number(accuracy.get("total"))
    return f"{100 * number(accuracy.get('correct')) / total:.1f}" if total > 0 else MISSING


def _curves(curves: Sequence[Mapping[str, Json]]) -> Markup:
    """RMSE of rounding activations by layer.

    As Figure 1 of Ben-Yair, Eliasof, Treister, Quantized convolutional neural networks through the
    lens of partial differential equations.
    """
    points = [records(curve.get("points")) for curve in curves]
    series = [
        Series(
            _name(curve),
            [(float(n), number(each.get("rmse"))) for n, each in enumerate(layers)],
            place,
            hollow=not curve.get("stable"),
        )
        for place, (curve, layers) in enumerate(zip(curves, points, strict=True))
    ]
    names = [text(each.get("tensor")) for each in max(points, key=len)]
    ends = [
        f"{each.name}: {general(each.points[0][1])} at the first layer, "
        f"{general(each.points[-1][1])} at the last"
        for each in series
        if each.points and math.isfinite(each.points[-1][1])
    ]
    return figure(
        "Error of rounding activations, by layer: rounded against only clipped. "
        "Stable networks have filled marks",
        lambda width: lines_chart(
            width,
            series,
            x_title="layer, from the input on",
            y_title="RMSE",
            log=True,
            x_names=names,
        ),
        table(
            "Error of rounding activations by layer, RMSE",
            ("layer", *(each.name for each in series)),
            [(name, *(_at(layers, n) for layers in points)) for n, name in enumerate(names)],
        ),
        words="RMSE of rounding activations. " + "; ".join(ends),
        key=[swatch(each.number, each.name, hollow=each.hollow) for each in series],
        readout=True,
    )


def _at(layers: Sequence[Mapping[str, Json]], place: int) -> str:
    return general(number(layers[place].get("rmse"))) if place < len(layers) else MISSING
