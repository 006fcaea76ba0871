"""Ranges of channels, and how often values occur."""

from __future__ import annotations

import re

from edgeq.deploy.report.charts.distributions import histogram_chart, ranges_chart


def test_a_range_is_a_bar_from_its_least_to_its_greatest() -> None:
    drawn = ranges_chart(
        720, {"a": [(-1.0, 1.0), (0.0, 2.0)]}, {"a": 0}, x_title="channel", y_title="weight"
    )
    (path,) = re.findall(r'<path d="([^"]+)" class="s0 line"', drawn)
    places = [tuple(map(float, each.split())) for each in re.findall(r"M([\d. ]+)V", path)]
    ends = [float(each) for each in re.findall(r"V([\d.]+)", path)]
    assert places[0][0] < places[1][0]
    assert [top < bottom for (_, bottom), top in zip(places, ends, strict=True)] == [True, True]
    assert places[0][1] > places[1][1], "less is lower"


def test_a_bin_without_values_is_on_the_ground_and_the_grid_has_two_ends() -> None:
    drawn = histogram_chart(
        360, [0.0, 1.0, 2.0, 3.0], {"a": [5, 0, 100]}, {"a": 0}, x_title="w", ends=(-1.0, 3.0)
    )
    heights = [
        float(y)
        for y in re.findall(r"V([\d.]+)", re.findall(r'd="(M[^"]+V[^"]+H[^"]+)"', drawn)[0])
    ]
    assert heights[1] == heights[-1] == max(heights)
    assert heights[2] < heights[0]
    assert drawn.count('class="front"') == 2
