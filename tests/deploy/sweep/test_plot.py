"""Plots as SVG."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgeq.deploy.sweep.plot import Panel, write_plot

if TYPE_CHECKING:
    from pathlib import Path


def test_a_plot_has_a_line_for_each_series_and_leaves_out_what_a_logarithm_has_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "figures" / "plot.svg"
    panels = [
        Panel("one", "bits", "%", {"a<b": [(2.0, 10.0), (8.0, 90.0)]}, reference=(92.0, "float")),
        Panel("two", "layer", "QMSE", {"a<b": [(1.0, 0.0), (2.0, 1e-3)], "c": []}, log=True),
    ]
    write_plot(path, panels)
    made = path.read_text()
    found = re.findall(r'<polyline points="([^"]*)"', made)
    assert [len(points.split()) for points in found] == [2, 1, 0]
    assert all(f">{name}</text>" in made for name in ("a&lt;b", "c", "float"))


def test_many_numbers_become_round_ones_and_lines_of_one_colour_differ(tmp_path: Path) -> None:
    path = tmp_path / "plot.svg"
    series = {f"line {number}": [(2.0, 1.0)] for number in range(9)}
    series["many"] = [(1.5 + 0.37 * number, float(number)) for number in range(20)]
    write_plot(path, [Panel("one", "kB", "%", series)])
    made = path.read_text()
    below = re.findall(r'y="268" text-anchor="middle">([^<]*)<', made)
    assert below == ["2", "4", "6", "8"]
    lines = re.findall(r"<polyline [^>]*fill=\"none\" ([^/]*)/>", made)
    assert len(set(lines)) == len(series) == 10
