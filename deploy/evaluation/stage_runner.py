"""Opens all stages at once and feeds each batch through every one of them.

So memory does not grow with the samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from edgeq.brief import brief
from edgeq.data.ahead import in_parts
from edgeq.data.batching import fed, samples_in
from edgeq.data.checks import check
from edgeq.data.splitting import limited
from edgeq.deploy.evaluation.chain import require_targets
from edgeq.deploy.evaluation.failures import Failing
from edgeq.deploy.evaluation.outputs.matching import Match, match
from edgeq.deploy.evaluation.outputs.output_axes import Output, in_order, order_like
from edgeq.errors import ArtefactError
from edgeq.target import ShowingSession

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from contextlib import ExitStack

    from numpy.typing import NDArray

    from edgeq.data import DataSource, Split
    from edgeq.deploy.evaluation.chain import Pair
    from edgeq.deploy.evaluation.open_sizes import OpenSizes
    from edgeq.target import Answers, Batch, Session, Shown

BATCH = 8  # samples whose inner tensors are held at once, for every stage
TENSOR_SAMPLES = 200
"""Inner tensors are compared on the first so many samples: there are millions of values in each."""
BatchT = TypeVar("BatchT")


@dataclass(frozen=True, slots=True)
class Opened:
    """A stage whose artefact is loaded.

    Attributes:
        pair: what runs where.
        session: the open session.
        intermediates: whether its inner tensors can be read.
    """

    pair: Pair
    session: Session
    intermediates: bool


@dataclass(frozen=True, slots=True)
class StageOutput:
    """What one stage computes for one batch.

    Attributes:
        output: float32, (samples, ...); the dimensions in the order that the first stage has them
            in.
        outputs: all its outputs by name, as they are.
        matched: those that the first stage has too, by its names and in its order, likewise with
            its order of dimensions.
        tensors: its inner tensors by name, in graph order; None where they are not read.
    """

    output: NDArray[np.float32]
    outputs: Mapping[str, NDArray[np.float32]]
    tensors: Shown | None
    matched: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    __repr__ = brief


def open_all(
    pairs: Sequence[Pair],
    stack: ExitStack,
    *,
    threads: int,
    tensors: bool,
    sizes: OpenSizes | None = None,
) -> list[Opened]:
    """Load every artefact; the sessions are closed with ``stack``.

    Args:
        pairs: what runs where.
        stack: closes the sessions.
        threads: the most threads a runtime may use.
        tensors: whether tensors inside are to be read, where a target can show them.
        sizes: gives files that leave sizes open those of the samples; None where none are known.

    Raises:
        StagesFailed: some could not be opened; holds all of those.
    """
    failing = Failing()
    opened = []
    for pair in pairs:
        with failing.noted(pair):
            target = require_targets([pair.target])[pair.target]
            readable = tensors and target.capabilities.intermediates
            path = pair.artefact if sizes is None else sizes.fixed(pair.artefact)
            session = stack.enter_context(
                target.open(path, threads=threads, intermediates=readable)
            )
            opened.append(Opened(pair, session, readable))
    failing.stop()
    return opened


def run_all(
    opened: Sequence[Opened],
    part: Split,
    source: DataSource,
    *,
    tensor_samples: int,
    beside: int = 0,
) -> Generator[tuple[Batch, list[StageOutput]], None, None]:
    """Feed a split through all stages, a batch at a time.

    Args:
        opened: the stages.
        part: the samples.
        source: how they are normalised.
        tensor_samples: how many samples, from the first, inner tensors are read for.
        beside: threads in which stages compute while the caller looks at a batch before. Where
            there are any, it is to be closed before the stages are.

    Yields:
        A batch, and what each stage computed of it, in the order given.

    Raises:
        StagesFailed: some could not compute a batch; holds all of those.
    """

    def asked() -> Iterator[tuple[Batch, bool]]:
        done = 0
        for images, _ in fed(part, source, BATCH):
            yield images, done < tensor_samples
            done += samples_in(images)

    def compute(of: tuple[Batch, bool], number: int) -> StageOutput | Exception:
        try:
            return _see(opened[number], *of)
        except Exception as error:  # noqa: BLE001  told once all stages have had the batch
            return error

    def in_turn() -> Generator[tuple[tuple[Batch, bool], list[StageOutput | Exception]]]:
        for of in asked():
            yield of, [compute(of, number) for number in range(len(opened))]

    computed = in_parts(compute, asked(), len(opened), beside) if beside else in_turn()
    try:
        for (images, _), found in computed:
            failing = Failing()
            seen = []
            for stage, one in zip(opened, found, strict=True):
                with failing.noted(stage.pair):
                    if isinstance(one, Exception):
                        raise one
                    seen.append(one)
            failing.stop()
            yield images, seen
    finally:
        computed.close()


def matched(
    opened: Sequence[Opened],
    computed: Iterable[tuple[BatchT, list[StageOutput]]],
    *,
    tell: Callable[[str], None] = lambda _guess: None,
) -> Iterator[tuple[BatchT, list[StageOutput]]]:
    """What all stages computed of each batch, with their outputs as the first stage has them.

    Args:
        opened: the stages.
        computed: what :func:`run_all` gives, or what was kept of it.
        tell: called with what was guessed about which output is which.

    Raises:
        ArtefactError: two stages answer with what cannot be matched value by value.
    """
    matches = None
    for images, seen in computed:
        if matches is None:
            matches = _matches(opened, seen)
            for line in _doubtful(opened, seen[0], matches):
                tell(line)
        main = opened[0].session.output.name
        yield images, [_as_first(*each, main) for each in zip(seen, matches, strict=True)]


def _matches(opened: Sequence[Opened], seen: Sequence[StageOutput]) -> list[list[Match]]:
    """For each stage, which of its outputs is which of the first stage's.

    Raises:
        ArtefactError: a stage has none that could be what the first stage answers with.
    """
    ends = [(stage.pair.artefact, one.outputs) for stage, one in zip(opened, seen, strict=True)]
    found = [match(ends[0], end) for end in ends]
    main = opened[0].session.output.name
    for stage, one, matches in zip(opened, seen, found, strict=True):
        if all(each.name != main for each in matches):  # which tells how they differ
            order_like(
                Output(ends[0][0], seen[0].output.shape[1:]),
                Output(stage.pair.artefact, one.output.shape[1:]),
            )
            raise ArtefactError(
                f"{stage.pair.artefact} has no output that could be {main!r} of {ends[0][0]}",
                hint="compare artefacts of one network",
            )
    return found


def _doubtful(
    opened: Sequence[Opened], first: StageOutput, matches: Sequence[Sequence[Match]]
) -> Iterator[str]:
    """What was guessed about outputs, and those without a counterpart, once for each file."""
    lines: dict[str, None] = {}
    for stage, found in zip(opened, matches, strict=True):
        lines |= dict.fromkeys(each.guess for each in found if each.guess)
        missing = [name for name in first.outputs if all(each.name != name for each in found)]
        if missing:
            names = ", ".join(map(repr, missing))
            lines[f"{stage.pair.artefact.name} has no output that could be {names}"] = None
    yield from lines


def _as_first(one: StageOutput, matches: Sequence[Match], main: str) -> StageOutput:
    """What a stage computed, with its outputs as the first stage has them."""
    matched = {each.name: in_order(one.outputs[each.other], each.order) for each in matches}
    return replace(one, output=matched[main], matched=matched)


def select(source: DataSource, split: str, limit: int | None = None) -> Split:
    """The samples of a part of the data, or some of them, each of which was looked at.

    Raises:
        UnknownName: there is no such split.
        UsageError: it is empty, the limit is below 1, or see :func:`edgeq.data.checks.check`.
        ArtefactError: see there.
    """
    chosen: Split = getattr(limited(source, split, limit), split)
    check(chosen, source.preprocessing)
    return chosen


def _see(stage: Opened, images: Batch, read: bool) -> StageOutput:
    found, tensors = _computed(stage, images, read=read)
    outputs = {name: np.ascontiguousarray(values) for name, values in found.items()}
    return StageOutput(outputs[stage.session.output.name], outputs, tensors)


def _computed(stage: Opened, images: Batch, *, read: bool) -> tuple[Answers, Shown | None]:
    session = stage.session
    if not read or not stage.intermediates:
        return session.run_all(images), None
    if isinstance(session, ShowingSession):
        return session.run_and_show(images)
    return session.run_all(images), session.tensors(images)
