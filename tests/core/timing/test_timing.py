"""Latency against a clock that the tests turn: nothing here depends on the machine."""

from __future__ import annotations

import gc
import itertools
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import pytest

from edgeq.errors import TargetError, UsageError
from edgeq.timing import Latency, Runs, SessionFailed, processor_ratio, ratio
from edgeq.timing.measuring import Clocks, measure, measure_openings
from edgeq.timing.surroundings import Surroundings, Watch
from edgeq.timing.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clock:
    """Nanoseconds that pass only when a session runs."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


class Fake:
    """A session whose i-th run takes ``ms(i)``."""

    def __init__(
        self,
        clock: Clock,
        ms: float,
        *,
        log: list[str] | None = None,
        name: str = "",
        later_ms: float | None = None,
    ) -> None:
        self.clock, self.ms, self.log, self.name, self.later_ms = (
            clock,
            ms,
            log if log is not None else [],
            name,
            later_ms,
        )
        self.runs = 0
        self.collecting: set[bool] = set()

    def invoke(self) -> None:
        self.runs += 1
        self.log.append(self.name)
        self.collecting.add(gc.isenabled())
        late = self.later_ms is not None and self.clock.now_ns > 2e9
        self.clock.now_ns += int(
            (self.later_ms if late and self.later_ms is not None else self.ms) * 1e6
        )


@pytest.fixture(autouse=True)
def _idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watch, "seen", lambda *_: Surroundings())


HOLDS = Trust(clock=True, processor_time=True, ratios=True)


def latency(blocks_ms: tuple[float, ...], processor_ms: tuple[float, ...] = ()) -> Latency:
    """A latency that holds, of one run a block."""
    return Latency(
        100,
        1.0,
        1.0,
        1.0,
        1.0,
        1.0,
        1.0,
        0.0,
        0.0,
        HOLDS,
        blocks_ms,
        processor_blocks_ms=processor_ms,
    )


def test_constant_runs_give_constant_quantiles() -> None:
    clock = Clock()
    found = measure({"a": Fake(clock, 2.0)}, seconds=1, clock=clock, processor_clock=clock)["a"]
    assert (found.p50_ms, found.p90_ms, found.p99_ms, found.mean_ms, found.min_ms) == pytest.approx(
        (2.0,) * 5
    )
    assert (found.spread, found.drift) == (0.0, 0.0)
    assert found.runs >= 500
    assert found.trustworthy
    assert found.why == ""


def test_warming_up_is_not_counted() -> None:
    clock = Clock()
    session = Fake(clock, 10.0)
    found = measure(
        {"a": session}, seconds=1, warmup_seconds=0.5, clock=clock, processor_clock=clock
    )["a"]
    assert session.runs - found.runs == 50


def test_sessions_take_turns_in_blocks_of_equal_time() -> None:
    clock, log = Clock(), list[str]()
    found = measure(
        {name: Fake(clock, ms, log=log, name=name) for name, ms in (("a", 1.0), ("b", 4.0))},
        seconds=1.2,
        warmup_seconds=0,
        clock=clock,
        processor_clock=clock,
    )
    rounds = len(found["a"].blocks_ms)
    assert len(found["b"].blocks_ms) == rounds >= 50
    assert found["a"].runs == 4 * found["b"].runs
    changes = sum(one != two for one, two in itertools.pairwise(log))
    # turns in every round, and not always in the same order
    assert rounds <= changes < 2 * rounds - 1


def test_a_session_slower_than_a_block_still_gets_its_runs_and_the_fast_one_its_share() -> None:
    clock = Clock()
    found = measure(
        {"slow": Fake(clock, 500.0), "fast": Fake(clock, 1.0)},
        seconds=1,
        min_runs=10,
        clock=clock,
        processor_clock=clock,
    )
    assert found["slow"].runs == 10
    assert found["fast"].runs == 5000
    assert found["slow"].why == ""


@pytest.mark.parametrize(
    ("ms", "names", "rounds"), [(200, "ab", 30), (1000, "ab", 12), (200, "a", 15)]
)
def test_a_ratio_gets_its_rounds_but_not_for_ever(ms: int, names: str, rounds: int) -> None:
    clock = Clock()
    sessions = {name: Fake(clock, ms) for name in names}
    found = measure(sessions, seconds=3, min_runs=5, clock=clock, processor_clock=clock)
    assert {len(each.blocks_ms) for each in found.values()} == {rounds}


def test_garbage_is_not_collected_within_a_block_and_is_again_afterwards() -> None:
    clock = Clock()
    session = Fake(clock, 1.0)
    measure({"a": session}, seconds=0.1, warmup_seconds=0, clock=clock, processor_clock=clock)
    assert False in session.collecting
    assert gc.isenabled()


def test_what_the_first_opening_costs_is_met_by_both() -> None:
    """Whichever is opened first takes 10 % longer; their ratio is 1 all the same."""
    clock, log = Clock(), list[str]()

    @contextmanager
    def opening(names: list[str]) -> Iterator[dict[str, Fake]]:
        log.append("open")
        yield {name: Fake(clock, ms) for name, ms in zip(names, (1.1, 1.0), strict=True)}
        log.append("closed")

    openings = [opening(["a", "b"]), opening(["b", "a"])]
    found = measure_openings(openings, seconds=4, clocks=Clocks(clock, clock))
    assert log == ["open", "closed"] * 2
    assert found["a"].runs == pytest.approx(found["b"].runs, rel=0.02)
    assert ratio(found["a"], found["b"]).value == pytest.approx(1.0, abs=0.02)
    assert measure_openings([nullcontext({})]) == {}


def test_a_failing_session_leaves_the_collector_on() -> None:
    class Failing(Fake):
        def invoke(self) -> None:
            super().invoke()
            if self.runs > 5:
                raise ValueError("broken")

    clock = Clock()
    with pytest.raises(ValueError, match="broken"):
        measure(
            {"a": Failing(clock, 1.0)},
            seconds=1,
            warmup_seconds=0,
            clock=clock,
            processor_clock=clock,
        )
    assert gc.isenabled()


def test_a_machine_that_slows_down_is_seen() -> None:
    clock = Clock()
    found = measure(
        {"a": Fake(clock, 1.0, later_ms=1.5)}, seconds=4, clock=clock, processor_clock=clock
    )["a"]
    assert found.drift == pytest.approx(0.5)
    assert not found.trustworthy
    assert "+50%" in found.why


def test_a_busy_machine_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watch, "seen", lambda *_: Surroundings(others=0.9))
    clock = Clock()
    both = {"a": Fake(clock, 1.0), "b": Fake(clock, 2.0)}
    found = measure(both, seconds=1, clock=clock, processor_clock=clock)["a"]
    assert "90% of the processors" in found.why
    assert found.trust.ratios
    alone = measure({"a": both["a"]}, seconds=1, clock=clock, processor_clock=clock)["a"]
    assert not alone.trust.ratios, "there is nothing that it has a ratio to"


def test_a_warm_up_lasts_until_runs_are_alike() -> None:
    """Runs that get faster, block by block, are left out until they do no more."""

    class Warming(Fake):
        def invoke(self) -> None:
            self.ms = max(10.0, 60.0 - self.runs)
            super().invoke()

    clock = Clock()
    session = Warming(clock, 60.0)
    found = measure(
        {"a": session}, seconds=2, warmup_seconds=0.2, clock=clock, processor_clock=clock
    )["a"]
    assert 50 <= session.runs - found.runs <= 60
    assert found.p99_ms == 10


def test_the_processor_time_is_of_a_run_and_its_ratio_of_the_rounds() -> None:
    clock = Clock()
    found = measure({"far": FarAway(clock, 2.0)}, seconds=1, clock=clock, processor_clock=clock)[
        "far"
    ]
    assert found.processor_ms == pytest.approx(1.0)
    ones = (1.0,) * 30
    some, none = latency(ones, (3.0,) * 30), latency(ones)
    times = processor_ratio(some, latency(ones, (2.0,) * 30))
    assert times is not None
    assert times.value == pytest.approx(1.5)
    assert processor_ratio(some, none) is None
    assert none.processor_ms is None


@pytest.mark.parametrize(
    ("seconds", "min_runs", "names"), [(0.0, 10, ["a"]), (1.0, 0, ["a"]), (1.0, 10, [])]
)
def test_nothing_to_measure_is_refused(seconds: float, min_runs: int, names: list[str]) -> None:
    clock = Clock()
    with pytest.raises(UsageError, match="nothing to measure"):
        measure(
            {name: Fake(clock, 1.0) for name in names},
            seconds=seconds,
            min_runs=min_runs,
            clock=clock,
            processor_clock=clock,
        )


def test_a_ratio_is_of_the_common_rounds() -> None:
    found = ratio(latency((3.0,) * 30), latency((2.0,) * 30))
    assert found.value == pytest.approx(1.5)


class FarAway(Fake):
    """Times itself: a call of it from here takes 5 ms more than a run."""

    def invoke_ns(self, budget_ns: int) -> Runs:
        took: list[int] = []
        while not took or sum(took) < budget_ns:
            self.runs += 1
            took.append(int(self.ms * 1e6))
        self.clock.now_ns += sum(took) + 5_000_000
        return Runs(took, sum(took) // 2)

    def invoke(self) -> None:
        raise AssertionError("the way there would be measured as well")


def test_what_times_itself_is_asked() -> None:
    clock = Clock()
    found = measure(
        {"far": FarAway(clock, 2.0), "near": Fake(clock, 4.0)},
        seconds=1,
        clock=clock,
        processor_clock=clock,
    )
    assert (found["far"].p50_ms, found["near"].p50_ms) == (2.0, 4.0)
    assert len(found["far"].blocks_ms) == len(found["near"].blocks_ms)
    assert found["far"].runs * found["far"].p50_ms >= 1000


@pytest.mark.parametrize("at", [1, 30])
def test_a_session_that_fails_is_named(at: int) -> None:
    clock = Clock()

    class Failing(Fake):
        def invoke(self) -> None:
            super().invoke()
            if self.runs == at:
                raise TargetError("gone", hint="look")

    with pytest.raises(SessionFailed, match=r"gone\n  hint: look") as caught:
        measure(
            {"a": Fake(clock, 10.0), "b": Failing(clock, 10.0)},
            seconds=1,
            clock=clock,
            processor_clock=clock,
        )
    assert caught.value.session == "b"
    assert gc.isenabled()
