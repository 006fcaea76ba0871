"""Scales put values where they belong, and their ticks are round."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq.deploy.report.charts.axes import Frame, Scale, cut, tick_name


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5), st.booleans())
def test_every_value_lies_on_the_scale(values: list[float], log: bool) -> None:
    scale = Scale.of(values, 10.0, 110.0, log=log)
    assert all(10.0 <= scale.at(value) <= 110.0 for value in values)
    slack = 1e-6 * (scale.high - scale.low)
    assert all(scale.low - slack <= tick <= scale.high + slack for tick in scale.ticks(6))


def test_ends_are_the_ends_and_what_is_not_finite_is_left_out() -> None:
    scale = Scale.of([2.0, math.nan, 4.0, math.inf], 0.0, 100.0)
    assert (scale.at(2.0), scale.at(3.0), scale.at(4.0)) == (0.0, 50.0, 100.0)
    assert Scale.of([], 0.0, 1.0, log=True).low > 0


def test_ticks_are_round() -> None:
    assert Scale(0.0, 10.0, 0.0, 1.0).ticks(5) == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert Scale(0.9, 45.0, 0.0, 1.0, log=True).ticks(6) == pytest.approx([1, 2, 5, 10, 20])
    assert Scale(1e-9, 1.1, 0.0, 1.0, log=True).ticks(5) == pytest.approx(
        [1e-9, 1e-7, 1e-5, 1e-3, 0.1]
    )


def test_ticks_have_short_names() -> None:
    assert [tick_name(x) for x in (0, -2.5, 1234, 1e-5, 2e6)] == [
        "0",
        "−2.5",
        "1,234",
        "1e−5",
        "2e6",
    ]


def test_a_long_name_keeps_its_end() -> None:
    assert cut("layer1.conv", 6.6 * 5) == "…conv"
    assert cut("conv", 100) == "conv"


def test_the_last_tick_ends_at_the_edge() -> None:
    frame = Frame(200, 100)
    axis = frame.x_axis(frame.across([0, 1]), "x", [(1.0, "a very long name")])
    assert 'x="198" y="74" text-anchor="end"' in axis


@given(st.floats(1e-6, 1e6), st.floats(1.001, 1e9), st.booleans(), st.integers(3, 9))
def test_an_axis_names_two_values_or_more(low: float, times: float, log: bool, most: int) -> None:
    scale = Scale.of([low, low * times], 0.0, 100.0, log=log)
    ticks = scale.ticks(most)
    assert 2 <= len(ticks) <= 3 * most
    assert Scale.of([0.0, 0.0], 0.0, 1.0).low == 0.0
