"""Opens all stages at once and feeds each batch through every one of them.

So memory does not grow with the samples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.data.batching import fed, samples_in
from edgeq.deploy.evaluation.chain import require_targets
from edgeq.deploy.evaluation.failures import Failing
from edgeq.deploy.evaluation.outputs.output_axes import FirstOutput, in_order, order_like
from edgeq.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import ExitStack

    from numpy.typing import NDArray

    from edgeq.data import DataSource, Split
    from edgeq.deploy.evaluation.chain import Pair
    from edgeq.quant import QuantizedTensor
    from edgeq.target import Batch, Session

    Tensors = Mapping[str, QuantizedTensor | NDArray[np.float32]]

BATCH = 8  # samples whose inner tensors are held at once, for every stage
SPLITS = ("train", "validation", "test")


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
        tensors: its inner tensors by name, in graph order; None where they are not read.
    """

    output: NDArray[np.float32]
    outputs: Mapping[str, NDArray[np.float32]]
    tensors: Tensors | None

    __repr__ = brief


def open_all(
    pairs: Sequence[Pair], stack: ExitStack, *, threads: int, tensors: bool
) -> list[Opened]:
    """Load every artefact; the sessions are closed with ``stack``.

    Raises:
        StagesFailed: some could not be opened; holds all of those.
    """
    failing = Failing()
    opened = []
    for pair in pairs:
        with failing.noted(pair):
            target = require_targets([pair.target])[pair.target]
            readable = tensors and target.capabilities.intermediates
            session = stack.enter_context(
                target.open(pair.artefact, threads=threads, intermediates=readable)
            )
            opened.append(Opened(pair, session, readable))
    failing.stop()
    return opened


def observe(
    opened: Sequence[Opened], part: Split, source: DataSource, *, tensor_samples: int
) -> Iterator[list[StageOutput]]:
    """Feed a split through all stages, a batch at a time.

    Args:
        opened: the stages.
        part: the samples.
        source: how they are normalised.
        tensor_samples: how many samples, from the first, inner tensors are read for.

    Yields:
        What each stage computed, in the order given.

    Raises:
        ArtefactError: two stages answer with what cannot be matched value by value.
        StagesFailed: some could not compute a batch; holds all of those.
    """
    done, orders = 0, None
    for images, _ in fed(part, source, BATCH):
        read = done < tensor_samples
        seen = _see(opened, images, read=read)
        if orders is None:
            outputs = [
                FirstOutput(stage.pair.artefact, one.output.shape[1:])
                for stage, one in zip(opened, seen, strict=True)
            ]
            orders = [order_like(outputs[0], output) for output in outputs]
        yield [
            replace(one, output=in_order(one.output, order))
            for one, order in zip(seen, orders, strict=True)
        ]
        done += samples_in(images)


def select(source: DataSource, split: str, limit: int | None) -> Split:
    """The first samples of a part of the data.

    Raises:
        UnknownName: there is no such split.
        UsageError: it is empty, or the limit is below 1.
    """
    if split not in SPLITS:
        raise UnknownName("split", split, SPLITS)
    part: Split = getattr(source, split)
    if limit is not None and limit < 1:
        raise UsageError(f"a limit of {limit} leaves no samples", hint="give 1 or more")
    if len(part) == 0:
        raise UsageError(
            f"the {split} split of {source.name} is empty",
            hint=f"choose another of {', '.join(SPLITS)}",
        )
    return part if limit is None or limit >= len(part) else part.take(np.arange(limit))


def _see(opened: Sequence[Opened], images: Batch, *, read: bool) -> list[StageOutput]:
    failing = Failing()
    seen = []
    for stage in opened:
        with failing.noted(stage.pair):
            outputs = stage.session.run_all(images)
            first = outputs[stage.session.output.name]
            seen.append(StageOutput(first, outputs, _inner(stage, images) if read else None))
    failing.stop()
    return seen


def _inner(stage: Opened, images: Batch) -> Tensors | None:
    return stage.session.tensors(images) if stage.intermediates else None
