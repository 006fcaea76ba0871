"""How one number is written, so that the page and the terminal never disagree. What is missing is a dash, not a zero."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeq.results import Accuracy

MISSING = "–"


def general(value: float | None) -> str:
    """Four significant digits, for errors whose size is not known beforehand."""
    return _special(value) if value is None or not math.isfinite(value) else f"{value:.4g}"


def share(accuracy: Accuracy | None) -> float | None:
    """The fraction of samples right; None where there is no accuracy or there are no samples."""
    return accuracy.fraction if accuracy and accuracy.total else None


def percent(fraction: float | None) -> str:
    """A fraction in per cent, two decimals, without the sign."""
    return _special(fraction) if fraction is None or not math.isfinite(fraction) else f"{100 * fraction:.2f}"


def decibels(value: float | None) -> str:
    """dB with one decimal; equal tensors have infinitely many."""
    return _special(value) if value is None or not math.isfinite(value) else f"{value:.1f}"


def milliseconds(value: float | None) -> str:
    """Three significant digits, and never an exponent."""
    if value is None or not math.isfinite(value):
        return _special(value)
    decimals = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(decimals, 6)}f}"


def count(value: int | None) -> str:
    """A whole number with its thousands apart."""
    return MISSING if value is None else f"{value:,}"


def kilobytes(size_bytes: int | None) -> str:
    """Thousands of bytes, one decimal."""
    return MISSING if size_bytes is None else f"{size_bytes / 1000:,.1f}"


def _special(value: float | None) -> str:
    if value is None or math.isnan(value):
        return MISSING
    return "∞" if value > 0 else "−∞"
