"""Latency of artefacts on targets.

They are measured in turns, so that what else the machine does meets all of them.
"""

from __future__ import annotations

import math
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.data.batching import fed
from edgeq.deploy.evaluation.compare import shorten
from edgeq.deploy.evaluation.failures import Failing, Left, StagesFailed
from edgeq.deploy.evaluation.profiling.alone import Alone, look, throughput
from edgeq.deploy.evaluation.profiling.peak import measure_peak, work
from edgeq.deploy.evaluation.profiling.result import Details, Profiled
from edgeq.deploy.evaluation.profiling.speed_ups import speed_ups
from edgeq.deploy.evaluation.saturation.pair_saturation import saturation_here
from edgeq.deploy.evaluation.stage_runner import open_all
from edgeq.errors import TargetError, UsageError
from edgeq.formats.artefact import size_of
from edgeq.results import Profile, require_all
from edgeq.target import TARGETS, Counting
from edgeq.targets.common.io import each_sample, enter_all
from edgeq.timing import Estimating, SessionFailed, estimated
from edgeq.timing.energy import EnergyMeter
from edgeq.timing.measuring import measure_openings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.data import DataSource
    from edgeq.deploy.evaluation.chain import Pair
    from edgeq.target import Batch, Session, TensorSpec
    from edgeq.timing import Latency
    from edgeq.timing.details import PeakSpeed

SEED = 0


def profile(
    pairs: Sequence[Pair],
    *,
    source: DataSource | None = None,
    threads: int = 1,
    seconds: float = 3.0,
) -> tuple[Profile, ...]:
    """Time each artefact on its target, one sample an invocation, sessions interleaved.

    Take estimates where that is all there is.

    Args:
        pairs: what to run where.
        source: whose first test sample is the input; None for random numbers, the same in every
            run.
        threads: the most threads a runtime may use.
        seconds: how long each session is timed, at least.

    Raises:
        UsageError: no pair, or fewer than one thread.
        ArtefactError: an artefact is broken, or does not fit the sample.
        TargetError: a runtime is absent, or failed.
    """
    found = profile_each(pairs, source=source, threads=threads, seconds=seconds)
    require_all(found.failures)
    return found.profiles


def profile_each(
    pairs: Sequence[Pair],
    *,
    source: DataSource | None = None,
    threads: int = 1,
    seconds: float = 3.0,
    runs: int = 10,
    details: Details | None = None,
) -> Profiled:
    """What :func:`profile` does; where a stage fails, the others are timed without it.

    Args:
        pairs: what to run where.
        source: as of :func:`profile`.
        threads: as of :func:`profile`.
        seconds: as of :func:`profile`.
        runs: how many runs of each session are timed, at least.
        details: what to measure besides; None for nothing.

    Raises:
        UsageError: no pair, or fewer than one thread or run.
        EdgeqError: what happened to all of them; see
            :meth:`edgeq.deploy.evaluation.failures.Left.drop`.
    """
    wanted = details or Details()
    check(pairs, threads, seconds, runs)
    meter, no_energy = _meter() if wanted.energy else (None, "")
    names = shorten([pair.artefact for pair in pairs])
    left = Left(pairs, names)
    while True:
        try:
            taken = _taken(left.pairs, source, threads, (seconds, runs), meter)
            counted = _counted(left.pairs) if wanted.instructions else [{}] * len(left.pairs)
            break
        except StagesFailed as failed:
            left.drop(failed)
    peak = measure_peak(threads) if wanted.peak else None
    profiles = [
        _detailed(
            _record(pair, names[pair.artefact], threads, one, instructions),
            pair,
            one.sample,
            wanted,
            peak,
        )
        for pair, one, instructions in zip(left.pairs, taken, counted, strict=True)
    ]
    samples = {pair: one.sample for pair, one in zip(left.pairs, taken, strict=True)}
    called = {pair: names[pair.artefact] for pair in left.pairs}
    return Profiled(
        tuple(profiles),
        tuple(left.failures),
        speed_ups(profiles),
        throughput(samples, called, wanted.throughput, threads=threads, seconds=seconds)
        if wanted.throughput
        else (),
        peak,
        no_energy,
    )


def check(pairs: Sequence[Pair], threads: int, seconds: float, runs: int) -> None:
    """Return where something can be timed so.

    Raises:
        UsageError: nothing can.
    """
    if not pairs:
        raise UsageError("there is nothing to profile", hint="name at least one artefact")
    if not 0 < seconds < math.inf:
        raise UsageError(
            f"nothing can be timed for {seconds:g} seconds", hint="give more than 0 seconds"
        )
    if threads < 1:
        raise UsageError(f"{threads} threads cannot run anything", hint="give 1 or more")
    if runs < 1:
        raise UsageError(f"{runs} runs tell nothing", hint="give 1 or more")


def _meter() -> tuple[EnergyMeter | None, str]:
    try:
        return EnergyMeter.found(), ""
    except TargetError as error:
        return None, f"{error.what}; {error.hint}"


@dataclass(frozen=True, slots=True)
class _Timed:
    """One session, timed."""

    latency: Latency
    facts: Mapping[str, str]
    sample: Sequence[NDArray[np.generic]]

    __repr__ = brief


def _taken(
    pairs: Sequence[Pair],
    source: DataSource | None,
    threads: int,
    least: tuple[float, int],
    meter: EnergyMeter | None,
) -> list[_Timed]:
    """The latency of each pair, what its session says about itself, and the sample it ran on."""
    known: dict[Pair, Latency] = {}
    about: dict[Pair, tuple[Mapping[str, str], Sequence[NDArray[np.generic]]]] = {}

    @contextmanager
    def opening(order: Sequence[Pair]) -> Iterator[Mapping[str, Session]]:
        with ExitStack() as stack:
            left = [pair for pair in order if pair not in known]
            opened = open_all(left, stack, threads=threads, tensors=False)
            failing = Failing()
            for stage in opened:
                with failing.noted(stage.pair):
                    sample, specs = _sample(source, stage.session.inputs), stage.session.inputs
                    stage.session.prepare(sample)
                    entered = next(each_sample(enter_all(sample, specs), specs))
                    about[stage.pair] = (stage.session.facts, entered)
                    if isinstance(stage.session, Estimating):
                        known[stage.pair] = estimated(stage.session)
            failing.stop()
            yield {
                str(pairs.index(stage.pair)): stage.session
                for stage in opened
                if stage.pair not in known
            }

    # where a session's memory lies decides some per cent, and the order of opening where that is
    orders = [pairs, pairs[::-1]][: len(pairs)]
    try:
        found = measure_openings(
            [opening(order) for order in orders], seconds=least[0], min_runs=least[1], energy=meter
        )
    except SessionFailed as failed:
        raise StagesFailed({pairs[int(failed.session)]: failed.error}) from failed
    latencies = {**known, **{pairs[int(key)]: latency for key, latency in found.items()}}
    return [_Timed(latencies[pair], *about[pair]) for pair in pairs]


def _counted(pairs: Sequence[Pair]) -> list[Mapping[str, str]]:
    """The instructions of one sample, where a target can count them."""
    failing = Failing()
    found: list[Mapping[str, str]] = []
    for pair in pairs:
        with failing.noted(pair):
            target = TARGETS.load(pair.target)
            counted = (
                {"instructions": f"{target.instructions(pair.artefact):,} for one sample"}
                if isinstance(target, Counting)
                else {}
            )
            found.append(counted)
    failing.stop()
    return found


def _record(
    pair: Pair, name: str, threads: int, timed: _Timed, instructions: Mapping[str, str]
) -> Profile:
    return Profile(
        name,
        pair.target,
        threads,
        1,
        TARGETS.load(pair.target).capabilities.latency,
        timed.latency,
        size_of(pair.artefact),
        {**timed.facts, **instructions},
        saturation_here(pair, name),
    )


def _detailed(
    plain: Profile,
    pair: Pair,
    sample: Sequence[NDArray[np.generic]],
    wanted: Details,
    peak: PeakSpeed | None,
) -> Profile:
    """A profile with what was asked for besides."""
    if plain.kind == "estimated":
        return plain
    alone = Alone()
    if wanted.start_up or wanted.operators:
        alone = look(pair, sample, plain.threads, operators=wanted.operators)
    macs = share = None
    if peak is not None:
        macs, share = work(pair, plain, peak)
    return replace(
        plain,
        start_up=alone.start_up,
        operators=alone.operators,
        macs=macs,
        peak_share=share,
        notes=(alone.why_not,) if alone.why_not else (),
    )


def _sample(source: DataSource | None, specs: Sequence[TensorSpec]) -> Batch:
    """One sample for each input, (1, ...): of the data, or random."""
    if source is not None:
        return next(fed(source.test, source, 1))[0]
    samples = {spec.name: _random(spec) for spec in specs}
    return samples if len(specs) > 1 else samples[specs[0].name]


def _random(spec: TensorSpec) -> NDArray[np.float32]:
    """Uniform within the grid of a quantised input, normal for a float one, zeros for tokens."""
    random = np.random.default_rng(SEED)
    shape = (1, *spec.shape)
    if spec.params is None and spec.dtype != "float32":
        return np.zeros(shape, np.float32)
    if spec.params is None:
        return random.standard_normal(shape, np.float32)
    levels = random.integers(spec.params.qmin, spec.params.qmax, shape, endpoint=True)
    return spec.params.dequantize(levels)
