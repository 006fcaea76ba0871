"""The one place where latency is measured.

A session in another process or on a board times itself (:class:`SelfTimed`); the way to it and back
is in no figure.

Sessions under comparison take turns in short blocks, so that a machine that slows down slows them
all; every result says whether it can be trusted, and if not, why. The method follows trtexec
(warm-up by time, at least 3 s) and the experience of others that separate runs of minutes apart
cannot be compared.
"""

from __future__ import annotations

import gc
import os
import time
from array import array
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from edgeq.errors import EdgeqError, TargetError, UsageError
from edgeq.timing.ratios import Ratio, paired_ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

# long against the clock's resolution, short against a machine's changes of pace
BLOCK_SECONDS = 0.02
RUNS_FOR_P99 = 100  # fewer leave p99 to a single run or none
MAX_SPREAD = 0.2  # interquartile range / median
MAX_DRIFT = 0.1  # second half's median / first half's, less one


class SessionFailed(TargetError):
    """A session's ``error``, with the name that the ``session`` was measured under."""

    def __init__(self, session: str, error: EdgeqError) -> None:
        super().__init__(error.what, hint=error.hint)
        self.session, self.error = session, error


class Invocable(Protocol):
    """What can be timed: a session on which ``prepare`` was called."""

    def invoke(self) -> None:
        """Run once."""
        ...


@runtime_checkable
class SelfTimed(Protocol):
    """What times itself, because a call of it from here would measure the way to it as well."""

    def invoke_ns(self, budget_ns: int) -> Sequence[int]:
        """Run until a time is over, at least once.

        Args:
            budget_ns: how long, in ns.

        Returns:
            What each run took, in ns.
        """
        ...


@runtime_checkable
class Estimating(Protocol):
    """What computes elsewhere than where its latency holds, which a model tells."""

    @property
    def estimated_ms(self) -> float:
        """What one run takes."""
        ...

    @property
    def estimate_note(self) -> str:
        """What the estimate rests on, and what it leaves out."""
        ...


@dataclass(frozen=True, slots=True)
class Latency:
    """What repeated runs of one session took, or what one run is estimated to take.

    Attributes:
        runs: how many were timed; 0 for an estimate, whose percentiles are all the same.
        p50_ms: the median.
        p90_ms: the 90th percentile.
        p99_ms: the 99th percentile.
        mean_ms: the mean.
        min_ms: the fastest.
        spread: interquartile range / median, no unit.
        drift: median of the second half of the runs / median of the first half - 1, no unit.
        trustworthy: whether no rule of :func:`verdict` speaks against it.
        why: the rules that do, empty when trustworthy.
        blocks_ms: the median of each block; block i of every session of one measurement was taken
            in the same round.
    """

    runs: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    min_ms: float
    spread: float
    drift: float
    trustworthy: bool
    why: str
    blocks_ms: tuple[float, ...]


def measure(
    sessions: Mapping[str, Invocable],
    *,
    seconds: float = 3.0,
    warmup_seconds: float = 0.2,
    min_runs: int = 10,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Mapping[str, Latency]:
    """Time sessions in interleaved blocks of random order, the garbage collector off.

    Args:
        sessions: by name, each prepared.
        seconds: how long each session is timed, at least.
        warmup_seconds: how long each session runs untimed before.
        min_runs: how many runs of each session are timed, at least.
        clock: nanoseconds, monotonic.

    Raises:
        SessionFailed: a runtime failed.
        UsageError: no sessions, or a time or count that is not positive.
    """
    if not sessions or seconds <= 0 or min_runs < 1:
        raise UsageError(
            "there is nothing to measure",
            hint="give at least one session, a positive time and at least one run",
        )
    load = _load_average()
    block_ns = max(
        [
            int(BLOCK_SECONDS * 1e9),
            *(_warm_up(name, session, warmup_seconds, clock) for name, session in sessions.items()),
        ]
    )
    blocks: dict[str, list[array[int]]] = {name: [] for name in sessions}
    order, turns = list(sessions), np.random.default_rng(0)
    while not all(_enough(taken, seconds, min_runs) for taken in blocks.values()):
        for name in turns.permutation(order):
            with _error_context(name):
                blocks[name].append(_block(sessions[name], block_ns, clock))
    return {name: _summary(taken, load) for name, taken in blocks.items()}


def estimated(session: Estimating) -> Latency:
    """An estimate in the place of a measurement; never to be trusted as one."""
    took = session.estimated_ms
    return Latency(
        0,
        took,
        took,
        took,
        took,
        took,
        0.0,
        0.0,
        trustworthy=False,
        why=f"estimated: {session.estimate_note}",
        blocks_ms=(),
    )


def ratio(a: Latency, b: Latency) -> Ratio:
    """How many times as long ``a`` takes as ``b``, by their common rounds.

    Raises:
        Inconclusive: fewer than five rounds, or times too short for the clock.
        UsageError: the two come from different measurements.
    """
    return paired_ratio(a.blocks_ms, b.blocks_ms)


def verdict(runs: int, spread: float, drift: float, load: float) -> str:
    """What speaks against trusting a measurement; empty for nothing.

    Four rules: at least 100 runs, or p99 rests on a single one; an interquartile range of at most
    20 % of the median; at most 10 % between the medians of the first and the second half; and, when
    it began, no more waiting processes than cores.

    Args:
        runs: how many were timed.
        spread: interquartile range / median.
        drift: second half's median / first half's - 1.
        load: the machine's load average a core when the measurement began.
    """
    against = []
    if runs < RUNS_FOR_P99:
        against.append(f"{runs} runs are too few for p99")
    if spread > MAX_SPREAD:
        against.append(f"half of the runs spread over {spread:.0%} of the median")
    if abs(drift) > MAX_DRIFT:
        against.append(f"the second half of the runs differs from the first by {drift:+.0%}")
    if load > 1:
        against.append(f"the machine was busy before: {load:.1f} processes a core")
    return "; ".join(against)


def _load_average() -> float:
    return os.getloadavg()[0] / len(os.sched_getaffinity(0))


@contextmanager
def _error_context(session: str) -> Iterator[None]:
    try:
        yield
    except EdgeqError as error:
        raise SessionFailed(session, error) from error


def _warm_up(name: str, session: Invocable, seconds: float, clock: Callable[[], int]) -> int:
    """Run untimed, at least twice (the first run allocates).

    Returns what the last run took, in ns.
    """
    end, runs, took = clock() + int(seconds * 1e9), 0, 0
    while runs < 2 or clock() < end:
        with _error_context(name):
            took = (
                max(session.invoke_ns(0))
                if isinstance(session, SelfTimed)
                else _timed(session, clock)
            )
        runs += 1
    return took


def _timed(session: Invocable, clock: Callable[[], int]) -> int:
    began = clock()
    session.invoke()
    return clock() - began


def _block(session: Invocable, block_ns: int, clock: Callable[[], int]) -> array[int]:
    """The durations of runs, in ns, until the block's time is over; at least one."""
    took = array("q")
    if isinstance(session, SelfTimed):
        return array("q", session.invoke_ns(block_ns))
    enabled = gc.isenabled()
    gc.disable()
    try:
        end = clock() + block_ns
        while True:
            began = clock()
            session.invoke()
            ended = clock()
            took.append(ended - began)
            if ended >= end:
                return took
    finally:
        if enabled:
            gc.enable()


def _enough(blocks: list[array[int]], seconds: float, min_runs: int) -> bool:
    return sum(map(len, blocks)) >= min_runs and sum(map(sum, blocks)) >= seconds * 1e9


def _summary(blocks: list[array[int]], load: float) -> Latency:
    took_ms = np.concatenate([np.frombuffer(block, np.int64) for block in blocks]) / 1e6
    q25, p50, q75, p90, p99 = (float(q) for q in np.quantile(took_ms, [0.25, 0.5, 0.75, 0.9, 0.99]))
    spread, drift = (q75 - q25) / p50 if p50 else 0.0, _drift(took_ms)
    why = verdict(len(took_ms), spread, drift, load)
    return Latency(
        runs=len(took_ms),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        mean_ms=float(took_ms.mean()),
        min_ms=float(took_ms.min()),
        spread=spread,
        drift=drift,
        trustworthy=not why,
        why=why,
        blocks_ms=tuple(float(np.median(np.frombuffer(block, np.int64))) / 1e6 for block in blocks),
    )


def _drift(took_ms: NDArray[np.float64]) -> float:
    half = len(took_ms) // 2
    if half == 0:
        return 0.0
    return float(np.median(took_ms[half:]) / np.median(took_ms[:half]) - 1)
