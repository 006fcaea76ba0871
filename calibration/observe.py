"""Runs the float model over the calibration batches, and shows every stored tensor to observers.

The wanted tensors are the outputs of the model, one batch at a time; no batch is kept. Before
anything is rounded, some samples show whether a rewritten model still computes what the user's
does.
"""

from __future__ import annotations

from contextlib import closing
from functools import cache, partial
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import onnx_ir as ir

from edgeq.calibration._nodes import name_of
from edgeq.calibration.feeds.samples import feeds, fixed_batch
from edgeq.calibration.statistics import digest_of
from edgeq.calibration.statistics.parts import Watch
from edgeq.calibration.statistics.stages import numbers_of, part_of, stages_of
from edgeq.data.ahead import ahead
from edgeq.data.batching import samples_in
from edgeq.errors import ArtefactError, EdgeqError
from edgeq.formats.onnx_io import is_ours
from edgeq.formats.onnx_session import Opening, RuntimeFailed, open_graph
from edgeq.machine import usable_threads
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from edgeq.calibration.statistics import Statistics
    from edgeq.calibration.statistics.parts import PartStatistics
    from edgeq.calibration.statistics.stages import Stage
    from edgeq.formats.onnx_session import Graph
    from edgeq.target import Batch

    _About = tuple[bytes, int]
    _Fed = tuple[dict[str, NDArray[np.float32]], int, int]

_Part = TypeVar("_Part")

# of the largest magnitude of an output: what folding in float32 may move; no rewrite that is wrong
# stays below it
_MOST = 1e-3
# what is left of a sum that cancels out, such as the mean of what was normalised
_NOISE = 1e-6
_SAMPLES = 4
_USABLE_DB = 10.0
_TOLD_OUTPUTS = 10  # lines; of more, the outputs farthest from float
_JUDGED_BATCHES = 4
_AT_ONCE = 2**24  # numbers of the observed tensors that are computed at once: 64 MiB at most
_IN_A_STAGE = 2**25  # of those of one sample that are in memory together: 128 MiB


def observe(
    model: ir.Model,
    batches: Iterable[Batch],
    taps: Mapping[str, Sequence[str]],
    statistics: Statistics,
    progress: Callable[[int], None] | None = None,
    seen: Callable[[], None] = lambda: None,
) -> None:
    """Stream the batches through a model.

    Args:
        model: a prepared float model; left as it is.
        batches: see :func:`edgeq.calibration.feeds.samples.feeds`.
        taps: grid to the tensors whose values lie on it.
        statistics: the observers of the grids. Batches that they have seen are not run again.
        progress: called after each batch with its number of samples.
        seen: called after each batch that was run.

    Raises:
        ArtefactError: no samples, samples of another shape or type than the model's inputs, values
            that are not finite, other samples than were seen, or a model that ONNX Runtime cannot
            run.
    """
    inputs = tuple(model.graph.inputs)
    wanted = sorted(
        {tensor for tensors in taps.values() for tensor in tensors}
        - {name_of(value) for value in inputs}
    )
    watch = Watch(taps, statistics)
    workers, threads, at_once = _division(model, wanted, watch)
    count = 0

    @cache
    def session() -> tuple[tuple[Stage, Graph], ...]:
        return _sessions(model, wanted, threads)

    def compute(fed: Sequence[_Fed]) -> PartStatistics:
        return watch.look(
            _without_repetitions(part, *count)
            for each, *count in fed
            for part in _run_stages(session(), wanted, each)
        )

    def given() -> Iterator[tuple[Sequence[_Fed] | None, _About]]:
        """Of batches that were not seen; behind each batch None, its digest and its samples."""
        nonlocal count
        for number, batch in enumerate(batches):
            count += 1
            about = digest_of(batch), samples_in(batch)
            if not statistics.was_seen(number, about[0]):
                session()  # made once, before several threads use it
                size = _size_of_a_run(about[1], workers, at_once)
                fixed = fixed_batch(batch, inputs)
                parts = list(feeds(batch, inputs, None, size))
                for some in _shares(_counted(parts, fixed, about[1]), workers):
                    yield some, about
            yield None, about

    number = 0
    for seen_by_one, (digest, samples) in (
        ahead(compute, given(), workers)
        if watch.in_threads
        else ((None if fed is None else compute(fed), about) for fed, about in given())
    ):
        if seen_by_one is not None:
            watch.take(seen_by_one)
            continue
        if number == len(statistics.digests):
            watch.end_of_batch()
            statistics.digests.append(digest)
            statistics.samples += samples
            seen()
        number += 1
        if progress is not None:
            progress(samples)
    if statistics.samples == 0:
        raise ArtefactError(
            "there are no calibration samples", hint="give at least one; some hundreds are usual"
        )
    if count < len(statistics.digests):
        raise ArtefactError(
            f"the statistics were measured on {counted(len(statistics.digests), 'batch')}, "
            f"and there are only {count}",
            hint="give as many --samples as then, or measure again",
        )


def _size_of_a_run(samples: int, workers: int, most: int | None) -> int | None:
    """As many samples as a run may have, or a few less: each worker gets as many runs."""
    if most is None:
        return None
    runs = max(1, -(-samples // (most * workers))) * workers
    return max(1, -(-samples // runs))


def _counted(
    parts: Sequence[dict[str, NDArray[np.float32]]], size: int | None, samples: int
) -> Sequence[_Fed]:
    """Parts of a batch, each with how many of its samples are no repetitions, and how many it has.

    A fixed batch of several samples is filled up with repetitions.
    """
    size = size or 0
    return [(part, min(size, samples - at * size), size) for at, part in enumerate(parts)]


def _without_repetitions(
    tensors: Mapping[str, NDArray[np.float32]], count: int, size: int
) -> Mapping[str, NDArray[np.float32]]:
    """The tensors of the first samples, of those that stand one behind the other."""
    if count == size:
        return tensors
    return {
        name: values[: len(values) // size * count]
        if values.ndim and not len(values) % size
        else values
        for name, values in tensors.items()
    }


def _shares(parts: Sequence[_Part], workers: int) -> Iterator[Sequence[_Part]]:
    """The parts of a batch, in their order, divided between workers."""
    size = max(1, -(-len(parts) // workers))
    for start in range(0, len(parts), size):
        yield parts[start : start + size]


def _division(model: ir.Model, wanted: Sequence[str], watch: Watch) -> tuple[int, int, int | None]:
    """How many threads compute and count, of how many the runtime has, and the samples of a run.

    Together they make some megabytes of the observed tensors, or one sample each of two. None is
    whole batches.
    """
    numbers = _numbers_of_a_run(model, wanted)
    threads = usable_threads()
    if numbers is None or not watch.in_parts:
        return 1, threads, None
    if not watch.in_threads:
        return 1, threads, max(1, _AT_ONCE // numbers)
    workers = min(threads, max(2, _AT_ONCE // numbers))
    return workers, threads // workers, max(1, _AT_ONCE // (numbers * workers))


def _numbers_of_a_run(model: ir.Model, wanted: Sequence[str]) -> int | None:
    """How many numbers some tensors have for the smallest batch; None for an unknown shape."""
    made = {name_of(value): value for node in model.graph for value in node.outputs}
    numbers = 1
    for name in wanted:
        of_one = numbers_of(made[name])
        if of_one is None:
            return None
        numbers += of_one
    return numbers


def _sessions(
    model: ir.Model, wanted: Sequence[str], threads: int
) -> tuple[tuple[Stage, Graph], ...]:
    """What computes some tensors, in stages where they are too large to be in memory together."""
    stages = stages_of(model, wanted, _IN_A_STAGE)
    alone = len(stages) == 1
    return tuple(
        (stage, session_of(stage.model, threads=threads, keeps_memory=alone)) for stage in stages
    )


def _run_stages(
    sessions: Sequence[tuple[Stage, Graph]],
    wanted: Collection[str],
    fed: Mapping[str, NDArray[np.float32]],
) -> Iterator[Mapping[str, NDArray[np.float32]]]:
    """Some tensors, and what the network was given, as far as each stage has them."""
    held: dict[str, NDArray[Any]] = dict(fed)
    yield fed
    for stage, session in sessions:
        given = {name: held[name] for name in stage.inputs}
        held |= zip(stage.outputs, results(session, stage.outputs, given), strict=True)
        yield {name: np.asarray(held[name], np.float32) for name in stage.outputs if name in wanted}
        held = {name: array for name, array in held.items() if name in stage.later}
        del given


def check_rewritten(given: Graph, rewritten: ir.Model, batch: Batch) -> None:
    """Give some samples of a batch to both models.

    Raises:
        ArtefactError: the samples do not fit, or a model cannot be run.
        EdgeqError: the models do not compute the same.
    """
    fed = next(feeds(batch, tuple(rewritten.graph.inputs), most=_SAMPLES), None)
    if fed is not None:
        _compare(given, rewritten, fed)


def tensors_of(
    model: ir.Model, batch: Batch, tensors: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """Some tensors on a batch, (samples, ...).

    Raises:
        ArtefactError: the samples do not fit, or the model cannot be run.
    """
    session = session_of(part_of(model, tensors))
    made = [run(session, tensors, fed) for fed in feeds(batch, tuple(model.graph.inputs))]
    return {name: np.concatenate([each[name] for each in made]) for name in tensors}


def extremes(
    model: ir.Model, batch: Batch, tensors: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """The smallest and the largest number of some tensors, on some samples of a batch.

    Raises:
        ArtefactError: the samples do not fit, or the model cannot be run.
    """
    fed = next(feeds(batch, tuple(model.graph.inputs), most=_SAMPLES))
    made = run(session_of(part_of(model, tensors)), tensors, fed)
    return {name: (float(made[name].min()), float(made[name].max())) for name in tensors}


def _compare(
    given: Graph,
    rewritten: ir.Model,
    fed: Mapping[str, NDArray[np.float32]],
) -> None:
    names = [name_of(value) for value in rewritten.graph.outputs]
    before, after = (run(session, names, fed) for session in (given, session_of(rewritten)))
    places = {
        name_of(value)
        for value in rewritten.graph.outputs
        if value.dtype in (ir.DataType.INT32, ir.DataType.INT64)
    }
    for name in names:
        wanted, found = before[name].astype(np.float64), after[name].astype(np.float64)
        if wanted.shape != found.shape:
            raise _changed(name, f"it has the shape {found.shape} instead of {wanted.shape}")
        if name in places or not np.isfinite(wanted).all():
            continue  # equals take another place by a rounding; of infinities the observers tell
        most = float(np.abs(wanted).max(initial=0.0))
        moved = float(np.abs(wanted - found).max(initial=0.0))
        if not moved <= max(_MOST * most, _NOISE):
            raise _changed(name, f"it is {moved:.3g} off, of {most:.3g}")


def output_sqnr(
    given: Graph, quantized: ir.Model, batches: Sequence[Batch]
) -> tuple[dict[str, float], int]:
    """How near the outputs of the quantised model are to those of the float one.

    Args:
        given: the float model.
        quantized: the same in integers, with outputs of the same names.
        batches: some samples; a few of each are used.

    Returns:
        The ratio of signal to quantisation noise of each output of real numbers, in dB, infinite
        where nothing differs; and the number of samples.
    """
    inputs = tuple(quantized.graph.inputs)
    names = [
        name_of(value)
        for value in quantized.graph.outputs
        if value.dtype not in (ir.DataType.INT32, ir.DataType.INT64)
    ]
    if not names:
        return {}, 0
    signal, noise = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    judging = batches[:_JUDGED_BATCHES]
    samples = sum(min(samples_in(batch), _SAMPLES) for batch in judging)
    fed = ((each, each) for batch in judging for each in feeds(batch, inputs, most=_SAMPLES))
    session: Graph | None = None
    # the float answers to the next samples, while those of the quantised model are computed
    with closing(ahead(partial(run, given, names), fed, 1)) as coming:
        for wanted, each in coming:
            session = session or session_of(quantized, exact=True)
            found = run(session, names, each)
            for name in names:
                real = wanted[name].astype(np.float64)
                signal[name] += float((real**2).sum())
                noise[name] += float(((found[name] - real) ** 2).sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            name: float(10 * np.log10(np.float64(signal[name]) / noise[name]))
            if noise[name]
            else np.inf
            for name in names
        }, samples


def _changed(name: str, how: str) -> EdgeqError:
    return EdgeqError(
        f"bringing the model to its canonical form changed its output {name!r}: {how}",
        hint="nothing was written; please report the model",
    )


def session_of(
    model: ir.Model | onnx.ModelProto,
    *,
    exact: bool = False,
    threads: int | None = None,
    ours: bool | None = None,
    keeps_memory: bool = True,
) -> Graph:
    """A model in ONNX Runtime.

    Args:
        model: the model.
        exact: whether each operator is computed as ONNX says, without any optimisation.
        threads: that compute one operator; by default as many as may be used.
        ours: whether edgeq wrote all of it; by default what it says itself.
        keeps_memory: whether memory that a run needed is kept for the next one.

    Raises:
        ArtefactError: it cannot be loaded.
    """
    proto = ir.to_proto(model) if isinstance(model, ir.Model) else model
    # optimising an If of a known condition, ONNX Runtime loses what its branches hold themselves
    branches = any(node.op_type in ("If", "Loop", "Scan") for node in proto.graph.node)
    try:
        return open_graph(
            proto.SerializeToString(),
            Opening(not (exact or branches), threads or usable_threads(), keeps_memory),
            ours=is_ours(model) if ours is None else ours,
        )
    except RuntimeFailed as error:
        raise ArtefactError(
            f"ONNX Runtime cannot load the float model: {error}", hint="export it again"
        ) from error


def run(
    session: Graph,
    wanted: Sequence[str],
    fed: Mapping[str, NDArray[np.float32]],
) -> dict[str, NDArray[np.float32]]:
    """Some tensors of a model, and what it was given, by name.

    Raises:
        ArtefactError: the model cannot be run.
    """
    taken = {name: array for name, array in fed.items() if name in session.entries}
    made = [np.asarray(values, np.float32) for values in results(session, wanted, taken)]
    return {**fed, **dict(zip(wanted, made, strict=True))}


def results(
    session: Graph, wanted: Sequence[str], fed: Mapping[str, NDArray[Any]]
) -> list[NDArray[np.generic]]:
    """Some tensors of a model, in the order of their names, in their own types.

    Raises:
        ArtefactError: the model cannot be run.
    """
    try:
        return session.run(wanted, fed)
    except RuntimeFailed as error:
        raise ArtefactError(
            f"ONNX Runtime cannot run the float model: {error}", hint="try it on the same data"
        ) from error


def that_fit(judging: Sequence[Batch], model: ir.Model) -> Sequence[Batch]:
    """The samples that are to judge a model, where it takes them; else none."""
    try:
        for batch in judging:
            next(feeds(batch, tuple(model.graph.inputs), most=1), None)
    except ArtefactError:
        return ()
    return judging


def judged(found: Mapping[str, float], samples: int, of: int | None) -> Iterator[str]:
    """How near the outputs are to float, and what to try where they are not.

    Args:
        found: the ratio of each output, in dB.
        samples: on how many it was measured.
        of: how many samples of the calibration those are of; None for samples held back.
    """
    if of is None:
        where = f"{counted(samples, 'sample')} held back"
    else:
        quick = "" if samples >= of else f"{samples:,} of "
        where = f"{quick}{counted(of, 'sample')} of the calibration"
    worst = sorted(found, key=lambda name: found[name])[:_TOLD_OUTPUTS]
    for name, sqnr_db in found.items():
        if name in worst:
            yield f"output {name!r}: {_near_float(sqnr_db)}, on {where}"
    if len(found) > len(worst):
        others = len(found) - len(worst)
        yield f"{counted(others, 'other output', 'are')} nearer to float than these"
    poor = [repr(name) for name in found if not found[name] >= _USABLE_DB]
    if poor:
        told = ", ".join(poor[:_TOLD_OUTPUTS])
        more = f" and {len(poor) - _TOLD_OUTPUTS} others" if len(poor) > _TOLD_OUTPUTS else ""
        yield (
            f"warning: below {_USABLE_DB:.0f} dB little is left of {told}{more}\n"
            "  hint: try --observer percentile or mse, or cut the model before what needs a wide "
            "range with --outputs; edgeq compare shows the first tensor that is far off"
        )


def _near_float(sqnr_db: float) -> str:
    return "equal to float" if sqnr_db == inf else f"{sqnr_db:.1f} dB SQNR against float"
