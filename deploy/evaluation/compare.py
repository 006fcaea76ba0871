"""Accuracy and drift of several stages on the same samples.

Which hop changes the answers, where, by how much and why.
"""

from __future__ import annotations

from array import array
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol
from zlib import crc32

import numpy as np

from edgeq.brief import brief
from edgeq.data.splitting import limited
from edgeq.deploy.evaluation.chain import ANOTHER, QUANTISATION, cause
from edgeq.deploy.evaluation.failures import Left, StagesFailed
from edgeq.deploy.evaluation.open_sizes import OpenSizes
from edgeq.deploy.evaluation.outputs.answers import Gathered, agreement
from edgeq.deploy.evaluation.outputs.evaluation_data import EvaluationData
from edgeq.deploy.evaluation.outputs.scoring import TOP1, AskedTask, Judge, told
from edgeq.deploy.evaluation.outputs.tensor_names import is_quantized, pairs_of, shared_names
from edgeq.deploy.evaluation.plausibility import Answered, remarks_on
from edgeq.deploy.evaluation.saturation.pair_saturation import Samples, named_cause, saturation_here
from edgeq.deploy.evaluation.sharded import ComparisonJob, failures_told, recorded
from edgeq.deploy.evaluation.stage_runner import (
    TENSOR_SAMPLES,
    matched,
    open_all,
    run_all,
    select,
)
from edgeq.deploy.origin.weights import other_weights
from edgeq.deploy.pipeline import reading
from edgeq.errors import EdgeqError, UsageError
from edgeq.files import sha256_of
from edgeq.formats.artefact import detect, size_of
from edgeq.metrics.drift import DriftMeter
from edgeq.results import Comparison, Hop, Stage
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.data import DataSource, Split
    from edgeq.deploy.evaluation.chain import Pair
    from edgeq.deploy.evaluation.outputs.answers import Answering
    from edgeq.deploy.evaluation.outputs.scoring import AskedParts, PartFigure
    from edgeq.deploy.evaluation.plausibility import Doubt
    from edgeq.deploy.evaluation.stage_runner import Opened, StageOutput
    from edgeq.results import Drift, Failure, PairSaturation, Score
    from edgeq.target import Batch

OTHER_WEIGHTS = "other weights"
MAX_FLIPPED = 100
_MOSTLY = 0.5  # of all answers
_UNLIKE_DB = 10.0  # below it, an output is off by a third of itself, as rounding seldom does


@dataclass(frozen=True, slots=True)
class Observed:
    """A comparison together with every answer, for who has to compare the answers one by one.

    Attributes:
        comparison: the summary.
        data: what the stages were given.
        labels: the true classes, int64, (samples,); None where the labels are none.
        answers: stage name to the class it answers, int64, (samples,), of stages that have an
            accuracy.
        answering: stage name to how its outputs are read.
        artefacts: stage name to the SHA-256 of its file.
        measure: what is measured of each stage, with the options of the task.
        outputs: stage name to a checksum of its first output for each sample, uint32, (samples,).
        figures: stage name to each figure of its tasks, by name.
        resampled: stage name to each of those on each resample, (resamples,), where there are any.
        parts: stage name to the figures of parts of the samples that were asked for, by name.
        doubts: what is odd about the answers, of which the comparison's remarks tell too.
    """

    comparison: Comparison
    data: EvaluationData
    labels: NDArray[np.int64] | None
    answers: Mapping[str, NDArray[np.int64]]
    answering: Mapping[str, Answering]
    artefacts: Mapping[str, str]
    measure: str = TOP1
    outputs: Mapping[str, NDArray[np.uint32]] = field(default_factory=dict)
    figures: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    resampled: Mapping[str, Mapping[str, NDArray[np.float64]]] = field(default_factory=dict)
    parts: Mapping[str, Mapping[str, PartFigure]] = field(default_factory=dict)
    doubts: Sequence[Doubt] = ()

    __repr__ = brief

    def correct(self, stage: Stage) -> NDArray[np.bool_]:
        """Whether a stage that has an accuracy answers each sample right: bool, (samples,)."""
        right: NDArray[np.bool_] = self.answers[stage.name] == self.labels
        return right


class Watcher(Protocol):
    """Who looks at the tensors of all samples while stages are compared."""

    def begin(self, opened: Sequence[Opened], stack: ExitStack) -> None:
        """Take note of the stages; where some failed, again without those.

        Args:
            opened: the stages.
            stack: closes what has to be closed at the end.
        """
        ...

    def see(self, batch: Batch, seen: Sequence[StageOutput]) -> None:
        """Look at a batch and at what each stage computed of it."""
        ...


def compare(
    stages: Sequence[Pair],
    source: DataSource,
    *,
    split: str = "test",
    limit: int | None = None,
    reference: Pair | None = None,
    threads: int = 1,
    tensors: bool = True,
    task: AskedTask | None = None,
    also: Sequence[AskedTask] = (),
    resamples: int = 0,
    parts: Sequence[AskedParts] = (),
    watcher: Watcher | None = None,
    statistics: Path | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Observed:
    """Run artefacts on targets over the same samples and compare what comes out.

    A stage that fails is left out and recorded, and the others start again, since every figure is
    about stages side by side.

    Args:
        stages: what to compare, in the order of the chain.
        source: the data.
        split: which part of it.
        limit: how many samples, spread evenly; None for all.
        reference: what the others are compared with; the first stage where it is None.
        threads: the most threads a runtime may use.
        tensors: whether to compare the tensors inside too, on the first ``TENSOR_SAMPLES`` samples,
            matched by name and shape.
        task: what the answers are judged by; None for the task of the data.
        also: further tasks, whose figures are taken beside that.
        resamples: how many times the samples are drawn again for the spread of a task's figures.
        parts: of which figures also those of the parts of the samples are taken.
        watcher: is shown the tensors inside, of all samples.
        statistics: the folder of what was measured in shards
            (:mod:`edgeq.deploy.evaluation.sharded`); None runs the stages now.
        progress: called with the samples done and the samples in all.

    Raises:
        UsageError: no stage, an unknown split, no samples, or no labels for the task.
        ArtefactError: no artefact is whole or fits the data, or they do not fit each other.
        TargetError: the runtime of the reference that is named, or of every stage, is absent or
            failed.
    """
    pairs = ordered(stages, reference)
    names, source = shorten([pair.artefact for pair in pairs]), limited(source, split, limit)
    part = select(source, split)
    job = ComparisonJob(pairs, source, split, None, threads, tensors)
    left = Left(pairs, names, needed=reference)
    while True:
        try:
            with ExitStack() as stack:
                if statistics is not None:
                    stack.enter_context(failures_told())
                inside = tensors or watcher is not None
                # stages compute beside each other and beside what judges their tensors: seen on two
                # cores, runtimes with two threads that take turns are slower
                beside = min(threads - 1, len(left.pairs)) if inside else 0
                opened = open_all(
                    left.pairs,
                    stack,
                    threads=threads // (beside + 1),
                    tensors=inside,
                    sizes=OpenSizes(part, source, stack),
                )
                if watcher is not None:
                    watcher.begin(opened, stack)
                tasks = (task or AskedTask(), *also)
                judge = Judge(tasks[0], source, part, len(opened), resamples, tasks[1:], parts)
                run = _Run(opened, names, source, judge, inside=tensors)
                read = len(part) if watcher else TENSOR_SAMPLES if tensors else 0
                computed: Iterable[tuple[Batch | None, list[StageOutput]]] = (
                    stack.enter_context(
                        closing(run_all(opened, part, source, tensor_samples=read, beside=beside))
                    )
                    if statistics is None
                    else recorded(job, statistics, opened)
                )
                for batch, seen in matched(opened, computed, tell=run.guesses.append):
                    run.add(seen)
                    if watcher is not None and batch is not None:
                        watcher.see(batch, seen)
                    progress(run.samples, len(part))
                return run.finish(
                    EvaluationData.of(source, split, part), part, left.failures, threads
                )
        except StagesFailed as failed:
            left.drop(failed)


def ordered(stages: Sequence[Pair], reference: Pair | None) -> list[Pair]:
    """Each stage once, the one that the others are compared with first.

    Raises:
        UsageError: there is none.
    """
    first = reference or (stages[0] if stages else None)
    if first is None:
        raise UsageError("there is nothing to compare", hint="name at least one artefact")
    return [first, *(pair for pair in dict.fromkeys(stages) if pair != first)]


def shorten(paths: Sequence[Path]) -> dict[Path, str]:
    """What to call each file.

    Its name, with as many folders before it as it takes to tell it from the others.
    """
    names = {}
    for path in paths:
        others = [other.absolute().parts for other in set(paths) - {path}]
        parts = path.absolute().parts
        length = next(
            (n for n in range(1, len(parts)) if all(other[-n:] != parts[-n:] for other in others)),
            len(parts),
        )
        names[path] = "/".join(parts[-length:])
    return names


def _changed(stages: Sequence[Stage]) -> Iterator[str]:
    """What is odd about stages that answer most samples otherwise, where no label says who errs."""
    for stage in stages[1:]:
        judged = stage.accuracy or stage.score
        if judged is None and stage.agreement is not None and stage.agreement < _MOSTLY:
            yield (
                f"{stage.name} answers {100 * (1 - stage.agreement):.2f} % of the samples "
                f"otherwise than {stages[0].name}, which is more than rounding usually changes"
            )


class _HopMeter:
    """The drift from one stage to another, over all batches."""

    def __init__(self, source: int, stage: int, *, inside: bool) -> None:
        self.source, self.stage, self.inside = source, stage, inside
        self.output = DriftMeter("output")
        self.outputs: dict[str, DriftMeter] = {}
        self.tensors: dict[tuple[str, str], DriftMeter] | None = None

    def add(self, seen: Sequence[StageOutput], shared: Sequence[Mapping[str, str]]) -> None:
        before, after = seen[self.source], seen[self.stage]
        self.output.update(
            before.output.reshape(len(before.output), -1),
            after.output.reshape(len(after.output), -1),
        )
        common = [name for name in before.matched if name in after.matched]
        if len(before.outputs) > 1:
            for depth, name in enumerate(common):
                meter = self.outputs.setdefault(name, DriftMeter(name, depth))
                one, other = before.matched[name], after.matched[name]
                meter.update(one.reshape(len(one), -1), other.reshape(len(other), -1))
        if not self.inside or before.tensors is None or after.tensors is None:
            return
        if self.tensors is None:
            called = shared[self.source], shared[self.stage]
            self.tensors = {
                pair: DriftMeter(pair[0], depth)
                for depth, pair in enumerate(pairs_of(before.tensors, after.tensors, *called))
            }
        for (mine, its), meter in self.tensors.items():
            meter.update(before.tensors[mine], after.tensors[its])

    def drifts(self) -> tuple[Drift, tuple[Drift, ...]]:
        """Of the output, whose depth is one more than the deepest tensor's, and of each tensor."""
        inner = tuple(meter.result() for meter in (self.tensors or {}).values())
        return replace(self.output.result(), depth=len(inner)), inner


class _Run:
    """Accumulates one comparison."""

    def __init__(
        self,
        opened: Sequence[Opened],
        names: Mapping[Path, str],
        source: DataSource,
        judge: Judge,
        *,
        inside: bool,
    ) -> None:
        self.inside = inside
        self.opened, self.names, self.source, self.judge = opened, names, source, judge
        self.hops = [_HopMeter(i, i + 1, inside=inside) for i in range(len(opened) - 1)]
        self.from_first = [
            self.hops[i - 1] if i == 1 else _HopMeter(0, i, inside=inside)
            for i in range(1, len(opened))
        ]
        self.answering: list[Answering] = []
        self.answers = [Gathered() for _ in opened]
        self.checksums = [array("I") for _ in opened]
        self.samples = 0
        self.guesses: list[str] = []
        self.shared: list[Mapping[str, str]] = []
        self.others: dict[tuple[Path, Path], str] = {}
        self.rounded: list[bool | None] = [None for _ in opened]

    def add(self, seen: Sequence[StageOutput]) -> None:
        if self.inside and not self.shared:
            shown = [
                (stage.pair.artefact, one.tensors)
                for stage, one in zip(self.opened, seen, strict=True)
            ]
            self.shared = shared_names(shown, tell=self.guesses.append)
            self.rounded = [is_quantized(each) if each else None for _, each in shown]
        for meter in {id(meter): meter for meter in (*self.hops, *self.from_first)}.values():
            meter.add(seen, self.shared)
        if not self.answering:
            described = ((stage.pair.artefact, stage.session.output) for stage in self.opened)
            self.answering = [
                self.judge.answering(*each, one.output.shape[1:], self.source)
                for each, one in zip(described, seen, strict=True)
            ]
        for kept, how, one in zip(self.answers, self.answering, seen, strict=True):
            kept.append(how.of(one.output))
        for sums, one in zip(self.checksums, seen, strict=True):
            sums.extend(crc32(np.ascontiguousarray(sample).data) for sample in one.output)
        self.judge.add([one.outputs for one in seen])
        self.samples += len(seen[0].output)

    def finish(
        self, data: EvaluationData, part: Split, failures: Sequence[Failure], threads: int
    ) -> Observed:
        samples, pairs = Samples(self.source, part), [stage.pair for stage in self.opened]
        lost = {
            pair: saturation_here(pair, self.names[pair.artefact], samples=samples, threads=threads)
            for pair in pairs
        }
        answers = [gathered.all() for gathered in self.answers]
        scores = self.judge.results() or [None] * len(self.opened)
        stages = tuple(
            replace(self._stage(opened, how, mine, answers[0], part), score=score)
            for opened, how, mine, score in zip(
                self.opened, self.answering, answers, scores, strict=True
            )
        )
        scored = [
            (stage.name, how, stage.accuracy)
            for stage, how in zip(stages, self.answering, strict=True)
        ]
        known = [(stage.name, stage.score) for stage in stages if stage.score is not None]
        answered = [
            Answered(name, opened.pair.artefact, opened.session, mine[:, 0])
            for (name, _, _), opened, mine in zip(scored, self.opened, answers, strict=True)
            if mine is not None
        ]
        said, doubts = (
            (told(known), []) if known else remarks_on(answered, scored, self.source, part)
        )
        names = [stage.name for stage in stages]
        comparison = Comparison(
            data=self.source.name,
            samples=self.samples,
            reference=stages[0].name,
            stages=stages,
            hops=tuple(self._hop(meter, stages, lost) for meter in self.hops),
            from_reference=tuple(self._hop(meter, stages, lost) for meter in self.from_first),
            failures=tuple(failures),
            remarks=(
                *filter(None, (self.source.remark,)),
                *self.guesses,
                *filter(None, dict.fromkeys(self.others.values())),
                *_changed(stages),
                *said,
            ),
            saturating=tuple(found for found in lost.values() if found is not None),
        )
        classes = {
            stage.name: mine[:, 0]
            for stage, mine in zip(stages, answers, strict=True)
            if stage.accuracy and mine is not None
        }
        labels = part.class_labels if classes else None
        hashes = {
            stage.name: sha256_of(pair.artefact) for stage, pair in zip(stages, pairs, strict=True)
        }
        read = {name: how for name, how, _ in scored}
        measure = self.judge.measure(known[0][1]) if known else TOP1
        checksums = [np.frombuffer(sums, np.uint32) for sums in self.checksums]
        return Observed(
            comparison,
            data,
            labels,
            classes,
            read,
            hashes,
            measure,
            dict(zip(names, checksums, strict=True)),
            dict(zip(names, self.judge.figures(), strict=True)),
            dict(zip(names, self.judge.resampled(), strict=True)),
            dict(zip(names, self.judge.parts(), strict=True)),
            doubts,
        )

    def _stage(
        self,
        opened: Opened,
        how: Answering,
        mine: NDArray[np.int64] | None,
        reference: NDArray[np.int64] | None,
        part: Split,
    ) -> Stage:
        share, differs = agreement(mine, reference)
        return Stage(
            artefact=self.names[opened.pair.artefact],
            target=opened.pair.target,
            size_bytes=size_of(opened.pair.artefact),
            accuracy=how.accuracy(mine, part),
            agreement=share,
            changed=None if differs is None else int(differs.sum()),
            flipped=()
            if differs is None
            else tuple(int(sample) for sample in part.ids[differs][:MAX_FLIPPED]),
            facts=dict(opened.session.facts),
            answers=how.kind,
        )

    def _hop(
        self, meter: _HopMeter, stages: Sequence[Stage], lost: Mapping[Pair, PairSaturation | None]
    ) -> Hop:
        output, tensors = meter.drifts()
        outputs = tuple(each.result() for each in meter.outputs.values())
        ends = self.opened[meter.source].pair, self.opened[meter.stage].pair
        why = "nothing"
        if any(drift.mse != 0 for drift in (output, *tensors, *outputs)):
            why = self._between(meter, output.sqnr_db)
            why = named_cause(why, [(pair, lost[pair]) for pair in ends])
        names = stages[meter.source].name, stages[meter.stage].name
        without = "" if tensors or not self.inside else self._without(meter)
        return Hop(*names, why, output, tensors, outputs, without)

    def _between(self, meter: _HopMeter, sqnr_db: float) -> str:
        """What lies between two stages, which numbers may tell otherwise than their names."""
        one, other = self.opened[meter.source].pair, self.opened[meter.stage].pair
        if sqnr_db < _UNLIKE_DB and one.artefact != other.artefact:
            files = one.artefact, other.artefact
            if files not in self.others:
                self.others[files] = self._others(*files)
            if self.others[files]:
                return OTHER_WEIGHTS
        found = cause(one, other)
        ends = self._rounds(meter.source), self._rounds(meter.stage)
        if None in ends or ends[0] == ends[1] or QUANTISATION in found:
            return found
        return " + ".join([QUANTISATION, *(each for each in found.split(" + ") if each != ANOTHER)])

    def _rounds(self, stage: int) -> bool | None:
        """Whether a stage rounds, by its file where its tensors are not shown."""
        known, path = self.rounded[stage], self.opened[stage].pair.artefact
        if known is not None or detect(path) == "checkpoint":
            return known
        with suppress(EdgeqError):
            self.rounded[stage] = reading.is_quantized(path)
        return self.rounded[stage]

    def _others(self, one: Path, other: Path) -> str:
        """That two files hold weights of two trainings, in words; empty where they do not."""
        found = other_weights(one, other)
        if found is None:
            return ""
        names = self.names[one], self.names[other]
        return (
            f"{names[0]} and {names[1]} hold the weights of two trainings, or of none: "
            f"{counted(found[0], 'layer', 'have', of=found[1])} nothing in common. Give the "
            f"network that {names[1]} was made from"
        )

    def _without(self, meter: _HopMeter) -> str:
        """Why no tensors inside two stages are compared."""
        for place in (meter.source, meter.stage):
            opened = self.opened[place]
            unreadable = getattr(opened.session, "unreadable", None)
            if not opened.intermediates and unreadable:
                return f"{unreadable[0]}; {unreadable[1]}"
        return "no tensor inside has the same name and size in both"
