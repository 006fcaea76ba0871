"""Fields from files are refused by name, with what would do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from edgeq.errors import UsageError
from edgeq.network.checks import check_choice, check_count, check_number, read_record


@dataclass(frozen=True)
class Size:
    width: int
    marks: tuple[float, ...] = ()


def test_records_from_tables() -> None:
    assert read_record(Size, {"width": 3, "marks": [1.0, 2.0]}, "size") == Size(3, (1.0, 2.0))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (3, "size is 3"),
        ({"width": 3, "depth": 1}, "size has no field depth"),
        ({}, "size cannot be used: .*width"),
    ],
)
def test_what_is_no_record(content: object, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        read_record(Size, content, "size")


@pytest.mark.parametrize("value", ["1", True, None, float("nan"), float("inf"), [1]])
def test_what_is_no_number(value: object) -> None:
    with pytest.raises(UsageError, match=r"x is .*\n  hint: give a number"):
        check_number("x", value)


def test_limits() -> None:
    check_number("x", 0, 0, 1)
    check_number("x", 1, 0, 1)
    with pytest.raises(UsageError, match=r"x is -0.1\n  hint: choose at least 0 and at most 1"):
        check_number("x", -0.1, 0, 1)
    with pytest.raises(UsageError, match=r"x is 2\n  hint: choose at most 1"):
        check_number("x", 2, most=1)


@pytest.mark.parametrize("value", ["1", True, None, 2.0, 0])
def test_what_is_no_count(value: object) -> None:
    check_count("x", 1, 1)
    with pytest.raises(UsageError, match=r"x is .*\n  hint: choose a whole number, at least 1"):
        check_count("x", value, 1)


def test_choices() -> None:
    check_choice("x", "a", Literal["a", "b"])
    with pytest.raises(UsageError, match=r"x is 'c'\n  hint: choose a or b"):
        check_choice("x", "c", Literal["a", "b"])
