"""Which figures hold, by rules that each stand alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeq.timing.surroundings import Surroundings
from edgeq.timing.trust import Observed, judge

QUIET = Observed(100, 50, 0.05, 0.0, 0.05, 0.0, 0.0)


def test_on_a_machine_at_rest_everything_holds() -> None:
    found = judge(QUIET)
    assert (found.clock, found.processor_time, found.ratios) == (True, True, True)
    assert (found.why, found.advice, found.word) == ("", "", "yes")


@pytest.mark.parametrize(
    ("changes", "why", "advice"),
    [
        ({"runs": 9}, "9 runs are too few", "--runs"),
        ({"spread": 0.21}, "spread over 21%", "longer"),
        ({"drift": -0.11}, "differs from the first by -11%", "longer"),
        ({"drift": 0.3, "processor_drift": 0.3}, "clock of the processor changed", "cool"),
        ({"waiting": 0.3}, "waited for a processor for 30%", "taskset"),
        ({"around": Surroundings(others=0.6)}, "busy", "machine of its own"),
        ({"around": Surroundings(stolen=0.05)}, "hypervisor gave 5%", "machine of its own"),
        ({"around": Surroundings(throttled=0.2)}, "quota stopped it for 20%", "raise the quota"),
        ({"around": Surroundings(battery=True)}, "battery", "plug it in"),
    ],
)
def test_each_reason_stands_alone_and_says_what_to_do(
    changes: dict[str, Any], why: str, advice: str
) -> None:
    found = judge(replace(QUIET, **changes))
    assert why in found.why
    assert advice in found.advice
    assert ";" not in found.why + found.advice
    assert (found.clock, found.ratios, found.word) == (False, True, "ratios")


def test_processor_time_holds_where_the_clock_does_not() -> None:
    shared = replace(QUIET, spread=0.9, drift=0.4, waiting=0.5, around=Surroundings(others=0.8))
    assert judge(shared).processor_time
    assert not judge(replace(shared, processor_spread=0.3)).processor_time
    assert not judge(replace(shared, processor_spread=None, processor_drift=None)).processor_time


def test_who_is_busy_is_told_once() -> None:
    found = judge(replace(QUIET, waiting=0.5, around=Surroundings(others=0.8)))
    assert "waited" not in found.why
    assert found.advice == "end the other programs, or use a machine of its own"


def test_too_few_rounds_leave_nothing() -> None:
    found = judge(replace(QUIET, runs=3, rounds=3))
    assert (found.clock, found.processor_time, found.ratios, found.word) == (
        False, False, False, "no",
    )  # fmt: skip


def test_what_cannot_be_told_speaks_against_nothing() -> None:
    unknown = Observed(100, 50, 0.05, 0.0, around=Surroundings(others=None))
    assert judge(unknown).clock
