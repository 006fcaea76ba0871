"""What latency is: records of it, and what can be timed.

:func:`edgeq.timing.measuring.measure` is the one place where it is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from edgeq.errors import EdgeqError, TargetError
from edgeq.timing.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.timing.ratios import Ratio


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


@dataclass(frozen=True, slots=True)
class Runs:
    """What repeated runs took.

    Attributes:
        took_ns: each of them, by the clock, in ns.
        processor_ns: all of them together, in the time of all processors; None where it is not
            known.
    """

    took_ns: Sequence[int]
    processor_ns: int | None = None


@runtime_checkable
class SelfTimed(Protocol):
    """What times itself, because a call of it from here would measure the way to it as well."""

    def invoke_ns(self, budget_ns: int) -> Runs:
        """Run until a time is over, at least once.

        Args:
            budget_ns: how long, in ns.
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
        p95_ms: the 95th percentile.
        p99_ms: the 99th percentile; of fewer than 100 runs the slowest decide it.
        mean_ms: the mean.
        min_ms: the fastest.
        spread: interquartile range / median, no unit.
        drift: median of the second half of the runs / median of the first half - 1, no unit.
        trust: which of the figures hold.
        blocks_ms: the median of each block; block i of every session of one measurement was taken
            in the same round.
        processor_blocks_ms: the processor time of a run, the mean of each block, over all threads;
            empty where it is not known.
        energy_mj: what the processors took for a run, in millijoules, whatever else they did; None
            where no meter can be read.
    """

    runs: int
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    min_ms: float
    spread: float
    drift: float
    trust: Trust
    blocks_ms: tuple[float, ...]
    processor_blocks_ms: tuple[float, ...] = ()
    energy_mj: float | None = None

    @property
    def trustworthy(self) -> bool:
        """Whether the percentiles hold."""
        return self.trust.clock

    @property
    def why(self) -> str:
        """Why they do not; empty where they do."""
        return self.trust.why

    @property
    def processor_ms(self) -> float | None:
        """The processor time of a run, the median over blocks; None where it is not known."""
        if not self.processor_blocks_ms:
            return None
        ordered = sorted(self.processor_blocks_ms)
        half = len(ordered) // 2
        return (ordered[half] + ordered[~half]) / 2


def estimated(session: Estimating) -> Latency:
    """An estimate in the place of a measurement; never to be trusted as one."""
    took = session.estimated_ms
    trust = Trust(
        clock=False, processor_time=False, ratios=False, why=f"estimated: {session.estimate_note}"
    )
    return Latency(0, took, took, took, took, took, took, 0.0, 0.0, trust, blocks_ms=())


def ratio(a: Latency, b: Latency) -> Ratio:
    """How many times as long ``a`` takes as ``b``, by their common rounds.

    Raises:
        Inconclusive: fewer than five rounds, or times too short for the clock.
        UsageError: the two come from different measurements.
    """
    from edgeq.timing.ratios import paired_ratio  # numpy, which naming targets does not need

    return paired_ratio(a.blocks_ms, b.blocks_ms)


def processor_ratio(a: Latency, b: Latency) -> Ratio | None:
    """How many times the processor time of ``b`` a run of ``a`` takes; None where one is unknown.

    Raises:
        Inconclusive: as of :func:`ratio`.
        UsageError: as of :func:`ratio`.
    """
    if not (a.processor_blocks_ms and b.processor_blocks_ms):
        return None
    from edgeq.timing.ratios import paired_ratio

    return paired_ratio(a.processor_blocks_ms, b.processor_blocks_ms)
