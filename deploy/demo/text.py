"""The headline table for a terminal; the page has every target and figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.report import values
from edgeq.tabular import Table, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.deploy.demo.content import ModelRow, Report
    from edgeq.results import Accuracy
    from edgeq.timing import Latency

STATES = {"good": "good", "look": "look", "bad": "wrong"}
"""The word of each light."""
SHOWN = ("ort-cpu", "tflite")
"""Targets that a terminal has room for, where they were measured; else the first two."""


def headline(report: Report) -> Table:
    """Each network: its accuracy, how far rounding moves it, how long it takes and how large it is.

    All columns but the first hold numbers. Times are there where one can be trusted.
    """
    judged, timed = _chosen(report.accuracy_targets), _chosen(_trusted_targets(report))
    columns = (
        "network",
        *(f"% right {name}" for name in judged),
        "rounding MSE",
        *(f"p50 ms {name}" for name in timed),
        *(f"kB {name}" for name in report.formats),
    )
    rows = [
        (
            row.name,
            *(values.percent(values.share(row.accuracy.get(name))) for name in judged),
            values.general(row.activation_mse),
            *(_latency(row.latency.get(name)) for name in timed),
            *(values.kilobytes(row.size_bytes.get(name)) for name in report.formats),
        )
        for row in report.rows
    ]
    return Table(f"Networks on {report.data}", columns, rows)


def findings(report: Report) -> Table:
    """What was found, in the words of the page: the sum of it, then a line for each contrast."""
    lines = [line.partition(": ")[::2] for line in report.verdict]
    rows = [
        (name, STATES[state], words)
        for (name, words), state in zip(lines, report.states, strict=True)
    ]
    return Table("What was found", ("what", "verdict", "found"), rows)


def _trusted_targets(report: Report) -> Sequence[str]:
    """Targets of which at least one time can be trusted."""
    return [
        name
        for name in report.latency_targets
        if any(
            latency.trustworthy
            for row in report.rows
            if (latency := row.latency.get(name)) is not None
        )
    ]


def _chosen(targets: Sequence[str]) -> Sequence[str]:
    found = [name for name in SHOWN if name in targets]
    return found if len(found) == len(SHOWN) else targets[: len(SHOWN)]


def _latency(latency: Latency | None) -> str:
    if latency is None:
        return values.MISSING
    return values.milliseconds(latency.p50_ms) + ("" if latency.trustworthy else " ?")


def footnote(report: Report) -> str:
    """What the figures rest on."""
    widest = max(
        (_half_width(accuracy) for row in report.rows for accuracy in _all(row)), default=0.0
    )
    notes = [f"{report.data}, {counted(report.samples, 'sample')}"]
    if widest:
        notes.append(f"95 % intervals of accuracy reach at most ±{100 * widest:.2f} points")
    shown = _chosen(_trusted_targets(report))
    times = [(name, taken) for row in report.rows for name, taken in row.latency.items()]
    if any(name in shown and not taken.trustworthy for name, taken in times):
        notes.append("? too noisy to trust")
    elif times and not shown:
        notes.append("all times were too noisy to trust")
    return "; ".join(notes) + "."


def _all(row: ModelRow) -> Sequence[Accuracy]:
    return [accuracy for accuracy in row.accuracy.values() if accuracy.total]


def _half_width(accuracy: Accuracy) -> float:
    return max(accuracy.high - accuracy.fraction, accuracy.fraction - accuracy.low)
