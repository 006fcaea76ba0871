"""How one number is written, so that the page and the terminal never disagree.

What is missing is a dash, not a zero.
"""

from __future__ import annotations

import math
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

from edgeq.metrics import further_metrics
from edgeq.metrics.drift import LSB_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgeq.metrics import Table
    from edgeq.results import Accuracy, Drift, Score

MISSING = "–"
MAX_NAME = 48
GUESSING = " guessing among "
"""What every sentence about an accuracy says that guessing reaches, too."""


def short(name: str) -> str:
    """A name of at most ``MAX_NAME`` characters.

    Some tools write whole histories into a name; its end is what tells it from others.
    """
    return name if len(name) <= MAX_NAME else f"…{name[1 - MAX_NAME :]}"


_MOST_WRITTEN_OUT = 1e9


def metric(value: float | None, specification: str) -> str:
    """A metric by its own format specification."""
    return (
        _special(value)
        if value is None or not math.isfinite(value)
        else format(value, specification)
    )


def further_headings(table: Table) -> tuple[str, ...]:
    """The headings of the metrics without a place of their own in a table."""
    return tuple(kind.heading for kind in further_metrics(table).values())


def further_cells(metrics: Mapping[str, float], table: Table) -> tuple[str, ...]:
    """The cells of the metrics without a place of their own, as the columns of a table are."""
    return tuple(
        metric(metrics.get(name), kind.format) for name, kind in further_metrics(table).items()
    )


def general(value: float | None) -> str:
    """Four significant digits, for figures whose size is not known beforehand; bytes stay whole."""
    many = value is not None and 1e4 <= abs(value) < _MOST_WRITTEN_OUT
    return metric(value, ",.0f" if many else ".4g")


def share(accuracy: Accuracy | None) -> float | None:
    """The fraction of samples right; None where there is no accuracy or there are no samples."""
    return accuracy.fraction if accuracy and accuracy.total else None


def percent(fraction: float | None) -> str:
    """A fraction in per cent, two decimals, without the sign."""
    return (
        _special(fraction)
        if fraction is None or not math.isfinite(fraction)
        else f"{100 * fraction:.2f}"
    )


def score(scored: Score, value: float | None = None) -> str:
    """A task's figure with its unit, or another value of the same figure."""
    figure = scored.value if value is None else value
    if scored.percent:
        return f"{percent(figure)} %"
    return f"{general(figure)} {scored.unit}".rstrip()


def decibels(value: float | None) -> str:
    """dB with one decimal; equal tensors have infinitely many."""
    return metric(value, ".1f")


def milliseconds(value: float | None) -> str:
    """Three significant digits, and never an exponent."""
    if value is None or not math.isfinite(value):
        return _special(value)
    decimals = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(decimals, 6)}f}"


def moment(created: str) -> str:
    """A time of ISO 8601 to the minute, with its zone; anything else as it is."""
    try:
        told = datetime.fromisoformat(created)
    except ValueError:
        return created
    zone = "" if told.tzinfo is None else f" {told:%Z}".replace("UTC+00:00", "UTC")
    return f"{told:%Y-%m-%d %H:%M}{zone}" if len(created) > len("2026-01-01") else created


def count(value: int | None) -> str:
    """A whole number with its thousands apart."""
    return MISSING if value is None else f"{value:,}"


def kilobytes(size_bytes: int | None) -> str:
    """Thousands of bytes, one decimal."""
    return MISSING if size_bytes is None else f"{size_bytes / 1000:,.1f}"


def pooled_steps(drifts: Iterable[Drift]) -> tuple[Counter[int], int | None]:
    """The differences in LSB over the values of several tensors together.

    Returns:
        Difference to number of values, and the largest difference; no values and None where no
        tensor has a common grid.
    """
    total: Counter[int] = Counter()
    largest = None
    for drift in drifts:
        total.update(drift.lsb)
        if drift.max_lsb is not None:
            largest = max(drift.max_lsb, largest or 0)
    return total, largest


def steps(lsb: Mapping[int, int], largest: int | None) -> str:
    """How many values are off by how many steps, either way.

    Such as ``±1: 12, ±8 or more: 3 (up to ±44) of 4,096``.

    Args:
        lsb: difference in steps to number of values; those beyond ``LSB_LIMIT`` are counted there.
        largest: the largest difference; None where it is not known.

    Returns:
        ``0 of 4,096`` where all are equal; nothing for no values.
    """
    total = sum(lsb.values())
    off = {step: lsb.get(step, 0) + lsb.get(-step, 0) for step in range(1, LSB_LIMIT + 1)}
    told = [f"±{step}: {number:,}" for step, number in off.items() if number and step < LSB_LIMIT]
    if off[LSB_LIMIT]:
        told.append(f"{_last(largest)}: {off[LSB_LIMIT]:,}{_up_to(largest)}")
    return f"{', '.join(told) or 0} of {total:,}" if total else ""


def _last(largest: int | None) -> str:
    """What the end of a histogram stands for."""
    return f"±{LSB_LIMIT}" if largest == LSB_LIMIT else f"±{LSB_LIMIT} or more"


def _up_to(largest: int | None) -> str:
    return f" (up to ±{largest:,})" if largest is not None and largest > LSB_LIMIT else ""


def _special(value: float | None) -> str:
    if value is None or math.isnan(value):
        return MISSING
    return "∞" if value > 0 else "−∞"
