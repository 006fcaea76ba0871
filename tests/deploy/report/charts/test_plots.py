"""Plots draw every finite point once, and no colour is alone."""

from __future__ import annotations

import math

from edgeq.deploy.report.charts.plots import (
    Interval,
    Series,
    intervals_chart,
    lines_chart,
    points_chart,
    small_histogram,
    swatch,
)


def test_lines_leave_out_what_is_not_finite() -> None:
    points = [(0.0, 1.0), (1.0, math.nan), (2.0, 0.0), (3.0, 2.0)]
    drawn = lines_chart(720, [Series("a", points, 0)], x_title="x", y_title="y", log=True)
    assert drawn.count("<circle") == 2
    assert lines_chart(360, [], x_title="x", y_title="y").startswith("<svg")


def test_the_cursor_knows_every_x() -> None:
    drawn = lines_chart(720, [Series("a", [(0, 1), (1, 2), (2, 3)], 0)], x_title="x", y_title="y")
    assert 'data-at="58.0 383.0 708.0"' in drawn


def test_series_differ_in_more_than_colour() -> None:
    looks = [swatch(number, "") for number in range(8)]
    shapes = [look.replace(f"s{number}", "") for number, look in enumerate(looks)]
    assert len(set(shapes)) == 8


def test_the_state_of_an_interval_is_a_shape_too() -> None:
    rows = [Interval(s, 1.0, 0.5, 1.5, s, "1") for s in ("good", "look", "bad", "none")]
    drawn = intervals_chart(360, rows, x_title="x")
    assert [f'class="{kind}' in drawn for kind in ("fill good", "fill look", "cross bad")] == [
        True
    ] * 3
    assert drawn.count("<circle") == 1


def test_the_front_is_a_line_of_steps() -> None:
    series = [Series("a", [(1, 1)], 0), Series("b", [(2, 3)], 1)]
    drawn = points_chart(720, series, x_title="x", y_title="y", front=[(1, 1), (2, 3)])
    assert drawn.count('class="front"') == 1
    assert points_chart(720, [], x_title="x", y_title="y").startswith("<svg")


def test_a_small_histogram_of_nothing_is_nothing() -> None:
    assert small_histogram([("a", 0)], "t") == ""
    assert small_histogram([("a", 1), ("b", 3), ("c", 0)], "t").count("<rect") == 3


def test_a_phone_has_long_names_above_their_rows_and_whole() -> None:
    name = "a-network-of-some-name.tflite @ tflite-ref"
    rows = [Interval(name, 1.0, 0.5, 1.5, "none", "1")]
    assert name in intervals_chart(360, rows, x_title="x")
    assert name not in intervals_chart(720, rows, x_title="x", names=0.1)


def test_the_cursor_has_a_place_for_each_row_of_the_table() -> None:
    series = [Series("a", [(0, 1), (2, 3)], 0)]
    drawn = lines_chart(720, series, x_title="x", y_title="y", x_names=["a", "b", "c"])
    assert 'data-at="58.0 383.0 708.0"' in drawn
