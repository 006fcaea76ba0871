"""Latency of artefacts on targets, all of them measured against each other so that the machine's moods cancel out."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from edgeq.data import normalize
from edgeq.deploy.compare import shorten
from edgeq.deploy.observing import open_all
from edgeq.errors import UsageError
from edgeq.results import Profile
from edgeq.target import TARGETS
from edgeq.timing import measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeq.data import DataSource
    from edgeq.deploy.chain import Pair
    from edgeq.target import TensorSpec

SEED = 0


def profile(pairs: Sequence[Pair], *, source: DataSource | None = None, threads: int = 1, seconds: float = 3.0) -> tuple[Profile, ...]:
    """Time each artefact on its target, one sample an invocation, sessions interleaved.

    Args:
        pairs: what to run where.
        source: whose first test sample is the input; None for random numbers, the same in every run.
        threads: the most threads a runtime may use.
        seconds: how long each session is timed, at least.

    Raises:
        UsageError: no pair, or fewer than one thread.
        ArtefactError: an artefact is broken, or does not fit the sample.
        TargetError: a runtime is absent, or failed.
    """
    if not pairs:
        raise UsageError("there is nothing to profile", mend="name at least one artefact")
    if threads < 1:
        raise UsageError(f"{threads} threads cannot run anything", mend="give 1 or more")
    names = shorten([pair.artefact for pair in pairs])
    with ExitStack() as stack:
        opened = open_all(pairs, stack, threads=threads, tensors=False)
        for stage in opened:
            stage.session.prepare(_sample(source, stage.session.input))
        taken = measure({str(i): stage.session for i, stage in enumerate(opened)}, seconds=seconds)
    return tuple(
        Profile(
            artefact=names[pair.artefact],
            target=pair.target,
            threads=threads,
            batch=1,
            kind=TARGETS.load(pair.target).capabilities.latency,
            latency=taken[str(i)],
            size_bytes=pair.artefact.stat().st_size,
        )
        for i, pair in enumerate(pairs)
    )


def _sample(source: DataSource | None, spec: TensorSpec) -> NDArray[np.float32]:
    """One sample, (1, ...): of the data, or uniform within the grid of a quantised input, normal for a float one."""
    if source is not None:
        return normalize(source.test.images[:1], source)
    random = np.random.default_rng(SEED)
    shape = (1, *spec.shape)
    if spec.params is None:
        return random.standard_normal(shape, np.float32)
    levels = random.integers(spec.params.qmin, spec.params.qmax, shape, endpoint=True)
    return spec.params.dequantize(levels)
