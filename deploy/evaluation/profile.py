"""Latency of artefacts on targets.

They are measured in turns, so that what else the machine does meets all of them.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.data.batching import fed
from edgeq.deploy.evaluation.compare import shorten
from edgeq.deploy.evaluation.failures import Failing, Left, StagesFailed
from edgeq.deploy.evaluation.saturation.pair_saturation import saturation_here
from edgeq.deploy.evaluation.stage_runner import open_all
from edgeq.errors import UsageError
from edgeq.results import Profile, require_all
from edgeq.tabular import Table, Tabular
from edgeq.target import TARGETS, Counting
from edgeq.timing import Estimating, SessionFailed, estimated
from edgeq.timing.measuring import measure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.data import DataSource
    from edgeq.deploy.evaluation.chain import Pair
    from edgeq.results import Failure
    from edgeq.target import Batch, Session, TensorSpec
    from edgeq.timing import Latency

SEED = 0


@dataclass(frozen=True, slots=True, repr=False)
class Profiled(Tabular):
    """Latencies taken side by side.

    Attributes:
        profiles: of what ran, in the order given.
        failures: of what did not.
    """

    profiles: tuple[Profile, ...]
    failures: tuple[Failure, ...]

    def table(self) -> Table:
        """The latency of each artefact on each target."""
        rows = [
            (
                each.artefact,
                each.target,
                each.kind,
                f"{each.latency.p50_ms:.4g}",
                f"{each.latency.p90_ms:.4g}",
                each.latency.trust.word,
            )
            for each in self.profiles
        ]
        failed = [(each.artefact, each.target, each.what, "", "", "") for each in self.failures]
        return Table(
            "Latency of one sample",
            ("artefact", "target", "latency is", "p50 ms", "p90 ms", "trust"),
            [*rows, *failed],
        )


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
    count: bool = False,
) -> Profiled:
    """What :func:`profile` does; where a stage fails, the others are timed without it.

    Args:
        pairs: what to run where.
        source: as of :func:`profile`.
        threads: as of :func:`profile`.
        seconds: as of :func:`profile`.
        count: whether targets that can count instructions do, into the facts; takes minutes.

    Raises:
        UsageError: no pair, or fewer than one thread.
        EdgeqError: what happened to all of them; see
            :meth:`edgeq.deploy.evaluation.failures.Left.drop`.
    """
    if not pairs:
        raise UsageError("there is nothing to profile", hint="name at least one artefact")
    if not 0 < seconds < math.inf:
        raise UsageError(
            f"nothing can be timed for {seconds:g} seconds", hint="give more than 0 seconds"
        )
    if threads < 1:
        raise UsageError(f"{threads} threads cannot run anything", hint="give 1 or more")
    names = shorten([pair.artefact for pair in pairs])
    left = Left(pairs, names)
    while True:
        try:
            taken = _taken(left.pairs, source, threads, seconds)
            counted = _counted(left.pairs) if count else [{}] * len(left.pairs)
            break
        except StagesFailed as failed:
            left.drop(failed)
    profiles = [
        _record(pair, names[pair.artefact], threads, latency, {**facts, **instructions})
        for pair, (latency, facts), instructions in zip(left.pairs, taken, counted, strict=True)
    ]
    return Profiled(tuple(profiles), tuple(left.failures))


def _taken(
    pairs: Sequence[Pair], source: DataSource | None, threads: int, seconds: float
) -> list[tuple[Latency, Mapping[str, str]]]:
    """The latency of each pair, and what its session says about itself."""
    with ExitStack() as stack:
        opened = open_all(pairs, stack, threads=threads, tensors=False)
        failing = Failing()
        for stage in opened:
            with failing.noted(stage.pair):
                stage.session.prepare(_sample(source, stage.session.inputs))
        failing.stop()
        try:
            taken = _latencies({str(i): stage.session for i, stage in enumerate(opened)}, seconds)
        except SessionFailed as failed:
            raise StagesFailed({pairs[int(failed.session)]: failed.error}) from failed
        return [(taken[str(i)], stage.session.facts) for i, stage in enumerate(opened)]


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
    pair: Pair, name: str, threads: int, latency: Latency, facts: Mapping[str, str]
) -> Profile:
    kind = TARGETS.load(pair.target).capabilities.latency
    lost = saturation_here(pair, name)
    return Profile(
        name,
        pair.target,
        threads,
        1,
        kind,
        latency,
        pair.artefact.stat().st_size,
        dict(facts),
        lost,
    )


def _latencies(sessions: Mapping[str, Session], seconds: float) -> dict[str, Latency]:
    known = {
        key: estimated(session)
        for key, session in sessions.items()
        if isinstance(session, Estimating)
    }
    timed = {key: session for key, session in sessions.items() if key not in known}
    return {**known, **(measure(timed, seconds=seconds) if timed else {})}


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
