"""The one place where latency is measured.

A session in another process or on a board times itself (:class:`~edgeq.timing.SelfTimed`); the way
to it and back is in no figure.

Sessions under comparison take turns in short blocks, so that a machine that slows down slows them
all; every result says which of its figures hold. The method follows trtexec (warm-up by time, at
least 3 s) and the experience of others that separate runs of minutes apart cannot be compared.
"""

from __future__ import annotations

import gc
import math
import time
from array import array
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError, UsageError
from edgeq.timing import Latency, Runs, SelfTimed, SessionFailed
from edgeq.timing.surroundings import Watch
from edgeq.timing.trust import MIN_PAIRS, Observed, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from edgeq.timing import Invocable
    from edgeq.timing.energy import EnergyMeter
    from edgeq.timing.surroundings import Surroundings

# long against the clock's resolution, short against a machine's changes of pace; at most
BLOCK_SECONDS = 0.02
STEADY, STEADY_BLOCKS = 0.05, 4  # so many blocks of a warm-up differ by less once it is over
LONGEST_WARM_UP = 10  # times the shortest
LONGEST = 4  # times the asked time, where a busy machine leaves too few rounds for a ratio
LONG_ENOUGH_S = 1.0  # before which it does not give up on them, however little was asked for


@dataclass(frozen=True, slots=True)
class Clocks:
    """What tells the time, in ns.

    Attributes:
        wall: of the clock, monotonic.
        processor: how long all processors together worked for this process.
    """

    wall: Callable[[], int] = time.perf_counter_ns
    processor: Callable[[], int] = time.process_time_ns


def measure(
    sessions: Mapping[str, Invocable],
    *,
    seconds: float = 3.0,
    warmup_seconds: float = 0.2,
    min_runs: int = 10,
    clock: Callable[[], int] = time.perf_counter_ns,
    processor_clock: Callable[[], int] = time.process_time_ns,
    energy: EnergyMeter | None = None,
) -> Mapping[str, Latency]:
    """Time sessions in interleaved blocks of random and balanced order, the collector off.

    Args:
        sessions: by name, each prepared.
        seconds: how long each session is timed, at least; up to four times as long where a ratio
            of several needs more rounds.
        warmup_seconds: how long each session runs untimed before, at least, but no longer than it
            is timed; up to ten times as long where its runs have not become steady by then.
        min_runs: how many runs of each session are timed, at least.
        clock: nanoseconds, monotonic.
        processor_clock: nanoseconds that all processors together worked for this process.
        energy: the meter to read around each block.

    Raises:
        SessionFailed: a runtime failed.
        UsageError: no sessions, or a time or count that is not positive.
    """
    if not sessions or seconds <= 0 or min_runs < 1:
        raise UsageError(
            "there is nothing to measure",
            hint="give at least one session, a positive time and at least one run",
        )
    return measure_openings(
        [nullcontext(sessions)],
        seconds=seconds,
        warmup_seconds=warmup_seconds,
        min_runs=min_runs,
        clocks=Clocks(clock, processor_clock),
        energy=energy,
    )


def measure_openings(
    openings: Sequence[AbstractContextManager[Mapping[str, Invocable]]],
    *,
    seconds: float = 3.0,
    warmup_seconds: float = 0.2,
    min_runs: int = 10,
    clocks: Clocks | None = None,
    energy: EnergyMeter | None = None,
) -> Mapping[str, Latency]:
    """Measure sessions that are opened several times; each opening gets an equal part of the time.

    Where a session's memory lies changes what it takes, by some per cent, and the order of opening
    decides where that is: the first of two sessions of one file was seen 1.5 % slower. Opened in
    one order and then in the other, both are met alike.

    Args:
        openings: each opens all sessions, by the same names, and prepares them; where there are
            none, nothing is measured.
        seconds: as of :func:`measure`, and the others too.
        warmup_seconds: for each opening.
        min_runs: in all.
        clocks: None for this machine's.
        energy: as of :func:`measure`.

    Raises:
        SessionFailed: a runtime failed.
    """
    timers = clocks or Clocks()
    warmup_seconds = min(warmup_seconds, seconds)
    watch = Watch()
    taken: dict[str, _Taken] = {}
    elsewhere = 0
    for number, opening in enumerate(openings, start=1):
        with opening as sessions:
            taken = taken or {name: _Taken() for name in sessions}
            share = number / len(openings)
            longest = max(warmup_seconds, min(LONGEST_WARM_UP * warmup_seconds, seconds))
            warm = [
                _warm_up(name, one, (warmup_seconds, longest), timers)
                for name, one in sessions.items()
            ]
            # a block's last run goes beyond it, so that half of this leaves rounds enough
            block_seconds = min(BLOCK_SECONDS, seconds / (2 * MIN_PAIRS))
            block_ns = max([int(block_seconds * 1e9), *warm])
            rounds = math.ceil(share * MIN_PAIRS) if len(sessions) > 1 else 0
            least = (share * seconds, math.ceil(share * min_runs), rounds)
            _take_turns(sessions, taken, least, block_ns, timers, energy)
            elsewhere = sum(
                sum(one.processor_ns)
                for name, one in taken.items()
                if isinstance(sessions[name], SelfTimed)
            )
    around = watch.seen(elsewhere / 1e9)
    return {name: one.summary(around, alone=len(taken) == 1) for name, one in taken.items()}


def _take_turns(
    sessions: Mapping[str, Invocable],
    taken: Mapping[str, _Taken],
    least: tuple[float, int, int],
    block_ns: int,
    clocks: Clocks,
    energy: EnergyMeter | None,
) -> None:
    """Time blocks in rounds until each session has its time, its runs and rounds for a ratio."""
    order, turns, backwards = list(sessions), np.random.default_rng(), False
    while not all(one.enough(*least) for one in taken.values()):
        # Each order is gone through backwards too: what a session finds in the caches depends on
        # who ran before it, and each is to follow the others and itself equally often.
        order = order[::-1] if backwards else [str(name) for name in turns.permutation(order)]
        backwards = not backwards
        for name in order:
            with _error_context(name):
                taken[name].add(sessions[name], block_ns, clocks, energy)


@contextmanager
def _error_context(session: str) -> Iterator[None]:
    try:
        yield
    except EdgeqError as error:
        raise SessionFailed(session, error) from error


def _warm_up(name: str, session: Invocable, seconds: tuple[float, float], clocks: Clocks) -> int:
    """Run untimed, at least twice (the first run allocates), until blocks are alike.

    Returns what the last run took, in ns.
    """
    clock = clocks.wall
    began = clock()
    least, most = (began + int(each * 1e9) for each in seconds)
    medians: list[float] = []
    runs, took = 0, 0
    while runs < 2 or clock() < least or (clock() < most and not _steady(medians)):
        with _error_context(name):
            block = list(
                _block(session, int(BLOCK_SECONDS * 1e9) if seconds[0] else 0, clocks).took_ns
            )
        medians.append(float(np.median(block)))
        runs, took = runs + len(block), block[-1]
    return took


def _steady(medians: list[float]) -> bool:
    """Whether the last blocks took as long as each other."""
    last = medians[-STEADY_BLOCKS:]
    return len(last) == STEADY_BLOCKS and max(last) - min(last) <= STEADY * min(last)


def _block(session: Invocable, block_ns: int, clocks: Clocks) -> Runs:
    """Runs until the block's time is over; at least one."""
    if isinstance(session, SelfTimed):
        return session.invoke_ns(block_ns)
    took, clock = array("q"), clocks.wall
    enabled = gc.isenabled()
    gc.disable()
    try:
        processor = clocks.processor()
        end = clock() + block_ns
        while True:
            began = clock()
            session.invoke()
            ended = clock()
            took.append(ended - began)
            if ended >= end:
                return Runs(took, clocks.processor() - processor)
    finally:
        if enabled:
            gc.enable()


@dataclass(slots=True)
class _Taken:
    """The blocks of one session."""

    blocks: list[NDArray[np.int64]] = field(default_factory=list)
    processor_ns: list[int] = field(default_factory=list)
    energy_uj: int | None = None
    runs: int = 0
    took_ns: int = 0

    def add(
        self,
        session: Invocable,
        block_ns: int,
        clocks: Clocks,
        energy: EnergyMeter | None,
    ) -> None:
        """Time a block."""
        before = energy.read_uj() if energy is not None else ()
        runs = _block(session, block_ns, clocks)
        if energy is not None:
            self.energy_uj = (self.energy_uj or 0) + energy.since_uj(before)
        block = np.asarray(runs.took_ns, np.int64)
        self.blocks.append(block)
        self.runs += len(block)
        self.took_ns += int(block.sum())
        if runs.processor_ns is not None:
            self.processor_ns.append(runs.processor_ns)

    def enough(self, seconds: float, min_runs: int, rounds: int) -> bool:
        """Whether it was timed for long enough; for rounds it goes on, though not for ever."""
        took_s = self.took_ns / 1e9
        if self.runs < min_runs or took_s < seconds:
            return False
        return len(self.blocks) >= rounds or took_s >= max(LONGEST * seconds, LONG_ENOUGH_S)

    def summary(self, around: Surroundings, *, alone: bool) -> Latency:
        """What all blocks come to."""
        took_ms = np.concatenate(self.blocks) / 1e6
        p50, p90, p95, p99 = (float(q) for q in np.quantile(took_ms, [0.5, 0.9, 0.95, 0.99]))
        medians = np.array([float(np.median(block)) / 1e6 for block in self.blocks])
        known = len(self.processor_ns) == len(self.blocks)
        counts = np.array([len(block) for block in self.blocks])
        processor = np.array(self.processor_ns) / 1e6 / counts if known else np.array([])
        spread, drift = _spread(took_ms), _drift(took_ms)
        spent = float(np.sum(self.processor_ns)) / 1e6
        seen = Observed(
            runs=len(took_ms),
            rounds=len(self.blocks),
            spread=spread,
            drift=drift,
            processor_spread=_spread(processor) if known else None,
            processor_drift=_drift(processor) if known else None,
            # of several threads nothing tells how long each of them waited
            waiting=max(1 - spent / float(took_ms.sum()), 0.0) if known and spent else None,
            around=around,
            alone=alone,
        )
        return Latency(
            runs=len(took_ms),
            p50_ms=p50,
            p90_ms=p90,
            p95_ms=p95,
            p99_ms=p99,
            mean_ms=float(took_ms.mean()),
            min_ms=float(took_ms.min()),
            spread=spread,
            drift=drift,
            trust=judge(seen),
            blocks_ms=tuple(medians.tolist()),
            processor_blocks_ms=tuple(processor.tolist()),
            energy_mj=None if self.energy_uj is None else self.energy_uj / 1e3 / len(took_ms),
        )


def _spread(values: NDArray[np.float64]) -> float:
    low, middle, high = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
    return (high - low) / middle if middle else 0.0


def _drift(values: NDArray[np.float64]) -> float:
    half = len(values) // 2
    if half == 0:
        return 0.0
    before = float(np.median(values[:half]))
    return float(np.median(values[half:])) / before - 1 if before else 0.0
