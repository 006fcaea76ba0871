"""Numbers are written with their missing, infinite and extreme values."""

from __future__ import annotations

import math

import pytest

from edgeq.deploy.report import values
from edgeq.results import Accuracy


@pytest.mark.parametrize(
    "write", [values.general, values.percent, values.decibels, values.milliseconds]
)
def test_what_is_missing_is_a_dash_and_what_is_infinite_says_so(write: object) -> None:
    assert callable(write)
    assert [write(v) for v in (None, math.nan, math.inf, -math.inf)] == ["–", "–", "∞", "−∞"]


def test_whole_numbers() -> None:
    assert (values.count(None), values.count(853018)) == ("–", "853,018")
    assert (values.kilobytes(None), values.kilobytes(921_344)) == ("–", "921.3")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0"),
        (0.00123456, "0.00123"),
        (0.912, "0.912"),
        (1.834, "1.83"),
        (18.34, "18.3"),
        (183.4, "183"),
        (12345.6, "12,346"),
    ],
)
def test_milliseconds_keep_three_digits_without_an_exponent(value: float, written: str) -> None:
    assert values.milliseconds(value) == written


def test_other_units() -> None:
    assert values.percent(0.91631) == "91.63"
    assert values.general(0.0000084641) == "8.464e-06"
    told = [values.general(value) for value in (7946, 54264, -123456.7, 1e12)]
    assert told == ["7946", "54,264", "-123,457", "1e+12"]
    assert values.decibels(12.64) == "12.6"


def test_an_accuracy_without_samples_has_no_share() -> None:
    assert values.share(Accuracy(0, 0, 0.0, 1.0)) is None
    assert values.share(None) is None
    assert values.share(Accuracy(3, 4, 0.3, 0.95)) == 0.75


@pytest.mark.parametrize(
    ("lsb", "largest", "told"),
    [
        ({}, None, ""),
        ({0: 4096}, 0, "0 of 4,096"),
        ({0: 90, 1: 4, -1: 5, 3: 1}, 3, "±1: 9, ±3: 1 of 100"),
        ({0: 90, 8: 6, -8: 4}, 44, "±8 or more: 10 (up to ±44) of 100"),
        ({0: 90, 8: 6, -8: 4}, 8, "±8: 10 of 100"),
        ({0: 90, 8: 6, -8: 4}, None, "±8 or more: 10 of 100"),
        ({7: 2, 8: 1}, 1234, "±7: 2, ±8 or more: 1 (up to ±1,234) of 3"),
    ],
)
def test_the_end_of_a_histogram_is_told(
    lsb: dict[int, int], largest: int | None, told: str
) -> None:
    assert values.steps(lsb, largest) == told


def test_a_moment_is_told_to_the_minute() -> None:
    assert values.moment("2026-03-02T10:11:12+00:00") == "2026-03-02 10:11 UTC"
    assert values.moment("2026-03-02T10:11:12") == "2026-03-02 10:11"
    assert values.moment("2026-03-02T10:11:12+02:00") == "2026-03-02 10:11 UTC+02:00"
    assert [values.moment(told) for told in ("2026-03-02", "", "soon")] == [
        "2026-03-02",
        "",
        "soon",
    ]
