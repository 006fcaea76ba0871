"""What is measured of a runtime alone: how it begins, its operators, its throughput."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgeq.deploy.evaluation.chain import load_target
from edgeq.errors import EdgeqError, TargetError
from edgeq.target import Startable
from edgeq.timing.details import OperatorTime, StartUp, Throughput
from edgeq.timing.measuring import measure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.deploy.evaluation.chain import Pair
    from edgeq.target import RuntimeAlone

Values = "Sequence[NDArray[np.generic]]"


@dataclass(frozen=True, slots=True)
class Alone:
    """What a runtime takes, alone with one artefact.

    Attributes:
        start_up: to begin; None where it cannot be looked at alone.
        operators: for each operator; empty where it was not asked, or has no profiler.
        why_not: what could not be measured, and why.
    """

    start_up: StartUp | None = None
    operators: tuple[OperatorTime, ...] = ()
    why_not: str = ""


def look(
    pair: Pair, sample: Sequence[NDArray[np.generic]], threads: int, *, operators: bool
) -> Alone:
    """Start a runtime in a process of its own, and time what is asked for.

    Args:
        pair: what to run where.
        sample: one sample, as the artefact takes it.
        threads: the most threads it may use.
        operators: whether to time its operators.
    """
    target = load_target(pair.target)
    if not isinstance(target, Startable):
        return Alone(why_not=f"{pair.target} runs in edgeq's own process only")
    start_up = None
    try:
        with target.alone(pair.artefact, threads=threads) as runtime:
            start_up = runtime.start_up
            if not operators:
                return Alone(start_up)
            runtime.set(sample)
            return Alone(start_up, runtime.operators())
    except TargetError as error:
        return Alone(start_up, why_not=_reason(error))


@dataclass(frozen=True, slots=True)
class ThroughputGrid:
    """Which throughputs are wanted.

    Attributes:
        batches: samples a run, each.
        threads: of the runtime, each.
    """

    batches: tuple[int, ...] = ()
    threads: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.batches or self.threads)


@dataclass(slots=True)
class _Running:
    sessions: dict[str, RuntimeAlone] = field(default_factory=dict)
    places: dict[str, tuple[Pair, int, int]] = field(default_factory=dict)
    refused: dict[tuple[Pair, int, int], str] = field(default_factory=dict)


def throughput(
    samples: Mapping[Pair, Sequence[NDArray[np.generic]]],
    names: Mapping[Pair, str],
    asked: ThroughputGrid,
    *,
    threads: int,
    seconds: float,
) -> tuple[Throughput, ...]:
    """Samples a second of each artefact, each batch with each count of threads, all in turns.

    Args:
        samples: of each artefact on its target, one sample.
        names: what to call the artefacts.
        asked: the batches and counts of threads.
        threads: where no counts are asked for.
        seconds: how long each is timed, at least.
    """
    wanted = [
        (pair, batch, count)
        for pair in samples
        for count in asked.threads or (threads,)
        for batch in asked.batches or (1,)
    ]
    running = _Running()
    with ExitStack() as stack:
        for number, (pair, batch, count) in enumerate(wanted):
            try:
                session = stack.enter_context(_started(pair, batch, count))
                session.set([np.repeat(one, batch, axis=0) for one in samples[pair]])
            except EdgeqError as error:
                running.refused[pair, batch, count] = _reason(error)
                continue
            running.sessions[str(number)] = session
            running.places[str(number)] = (pair, batch, count)
        taken = measure(running.sessions, seconds=seconds) if running.sessions else {}
    took = {running.places[key]: latency.p50_ms for key, latency in taken.items()}
    return tuple(
        Throughput(
            names[pair],
            pair.target,
            batch,
            count,
            batch / took[pair, batch, count] * 1e3 if (pair, batch, count) in took else None,
            took.get((pair, batch, count)),
            running.refused.get((pair, batch, count), ""),
        )
        for pair, batch, count in wanted
    )


def _started(pair: Pair, batch: int, threads: int) -> RuntimeAlone:
    target = load_target(pair.target)
    if not isinstance(target, Startable):
        raise TargetError(
            f"{pair.target} runs one sample at a time, in edgeq's own process",
            hint="name another target",
        )
    return target.alone(pair.artefact, threads=threads, batch=batch)


def _reason(error: EdgeqError) -> str:
    """What a runtime said, without where it ran."""
    return error.what.rpartition(" refuses the model: ")[2]
