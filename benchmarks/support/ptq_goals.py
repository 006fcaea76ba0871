"""What the table of methods after training is held against: goals, each with what was measured.

Points are percentage points of accuracy on the same test images for every cell.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Cells = Mapping[tuple[str, str], Mapping[str, Any]]

NEAR_POINTS, RECONSTRUCTED_POINTS, WON_BACK_PERCENT = 0.3, 2.0, 90.0
_RECONSTRUCTED = f"4/4 reconstructed within {RECONSTRUCTED_POINTS:.0f} points of float"
_Z95 = 1.959963984540054  # the standard normal's 97.5 % quantile


def goals(network: str, cells: Cells) -> list[tuple[str, str, str, str]]:
    """What one network says about each goal: network, goal, measured, whether it is met.

    Args:
        network: its name.
        cells: by method and widths, those that were refused left out; methods of other tools have
            a colon in their names.
    """
    ours = [row for row, _ in cells if ":" not in row]
    rows: list[tuple[str, str, bool]] = []
    for row, bits, most, goal, what in (
        ("min-max", "8/8", NEAR_POINTS, f"8/8 within {NEAR_POINTS} points of float", "min-max "),
        ("reconstruct", "4/4", RECONSTRUCTED_POINTS, _RECONSTRUCTED, ""),
    ):
        if near := cells.get((row, bits)):
            lost = _float(near) - _right(near)
            rows.append((goal, f"{what}{_signed(-lost)} points", lost <= most))
    if (near := cells.get(("min-max", "4/8"))) and _float(near) > _right(near):
        gap = _float(near) - _right(near)
        best = _best(cells, ours, "4/8")
        won = 100 * (_right(cells[best, "4/8"]) - _right(near)) / gap
        goal = f"4/8 wins back {WON_BACK_PERCENT:.0f} % of what min-max loses"
        rows.append((goal, f"{best}: {won:.0f} % of {gap:.1f} points", won >= WON_BACK_PERCENT))
    for bits in dict.fromkeys(bits for _, bits in cells):
        theirs = [row for row, at in cells if at == bits and ":" in row]
        if theirs and ours:
            rows.append(_beside(cells, ours, theirs, bits))
    return [(network, goal, told, "yes" if met else "no") for goal, told, met in rows]


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[float, float]:
    """By how many points one cell is better than another, and half its 95 % interval.

    Both answered the same images: only those that one has right and the other wrong count.
    """
    mine, others = set(one["wrong"]), set(other["wrong"])
    won, lost, total = len(others - mine), len(mine - others), one["samples"]
    variance = max(0.0, won + lost - (won - lost) ** 2 / total)
    return 100 * (won - lost) / total, 100 * _Z95 * math.sqrt(variance) / total


def _beside(
    cells: Cells, ours: Iterable[str], theirs: Iterable[str], bits: str
) -> tuple[str, str, bool]:
    mine, other = _best(cells, ours, bits), _best(cells, theirs, bits)
    points, half = difference(cells[mine, bits], cells[other, bits])
    return (
        f"{bits} not worse than the best other tool",
        f"{mine} {_signed(points)} ± {half:.1f} points against {other}",
        points >= -half,
    )


def _best(cells: Cells, rows: Iterable[str], bits: str) -> str:
    """The row with most right answers, the first of several."""
    measured: Callable[[str], float] = lambda row: _right(cells[row, bits])  # noqa: E731
    return max((row for row in rows if (row, bits) in cells), key=measured)


def _right(cell: Mapping[str, Any]) -> float:
    return 100 * (1 - len(cell["wrong"]) / float(cell["samples"]))


def _float(cell: Mapping[str, Any]) -> float:
    return 100 * float(cell["float"]) / float(cell["samples"])


def _signed(points: float) -> str:
    return f"{points:+.1f}"
