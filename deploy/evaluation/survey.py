"""One network on every target, each from a file in that target's own dialect.

What each answers, and what each costs.

A target that refuses a network, or breaks under it, is a row that says why; the others keep theirs.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.data.batching import fed
from edgeq.data.splitting import limited
from edgeq.deploy.evaluation.chain import Pair, asked_for, files_of, require_targets, usable_targets
from edgeq.deploy.evaluation.failures import told
from edgeq.deploy.evaluation.outputs.answers import agreement, remarks
from edgeq.deploy.evaluation.outputs.output_axes import Output, in_order, order_like
from edgeq.deploy.evaluation.outputs.scoring import AskedTask, Judge
from edgeq.deploy.evaluation.outputs.scoring import told as told_scores
from edgeq.deploy.evaluation.plausibility import tried_on_reference
from edgeq.deploy.evaluation.profile import profile_each
from edgeq.deploy.evaluation.profiling.result import Profiled
from edgeq.deploy.evaluation.saturation.pair_saturation import Samples, saturation_here
from edgeq.deploy.evaluation.stage_runner import select
from edgeq.deploy.pipeline.export import canonical, default_stem, export
from edgeq.errors import EdgeqError, TargetError, UsageError
from edgeq.exporter import ExportOptions
from edgeq.files import temporary_folder
from edgeq.formats.artefact import detect, size_of
from edgeq.metrics.drift import DriftMeter
from edgeq.quant import QuantizedTensor
from edgeq.results import figure_of
from edgeq.tabular import Table, Tabular, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.data import DataSource, Split
    from edgeq.deploy.evaluation.outputs.answers import Answering
    from edgeq.formats.dialect import Dialect
    from edgeq.quant import QuantParams
    from edgeq.results import Accuracy, Drift, PairSaturation, Profile, Score
    from edgeq.target import Session, Target

REFERENCE = "emulator"
BATCH = 64


@dataclass(frozen=True, slots=True)
class SurveyRow:
    """One network on one target.

    Attributes:
        network: the source's name.
        target: the target's name.
        artefact: name of the file that ran there.
        size_bytes: its size.
        accuracy: on the data; None where what it answers has none.
        flipped: samples whose answer differs from the reference's; None for the reference itself.
        lsb: difference from the reference in steps of the output's grid to number of values, those
            beyond +-8 counted at +-8; empty where the output has no grid.
        max_lsb: the largest of those differences, as large as it is; None where there are none.
        metrics: each metric of the output against the reference's; empty where the output has no
            grid. In JSON they stand beside the other fields.
        profile: its latency; None where it was not asked for.
        facts: what the session says about itself.
        failure: why there are no figures, with the hint; empty where it ran.
        saturating: the layers whose pairs of products can saturate there; None where none can.
        score: how well it does the task; None where that is top-1 accuracy.
    """

    network: str = ""
    target: str = ""
    artefact: str = ""
    size_bytes: int = 0
    accuracy: Accuracy | None = None
    flipped: int | None = None
    lsb: Mapping[int, int] = field(default_factory=dict)
    max_lsb: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict, metadata={"inline": True})
    profile: Profile | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    failure: str = ""
    saturating: PairSaturation | None = None
    score: Score | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Survey(Tabular):
    """Networks on targets.

    Attributes:
        data: the data set's name.
        samples: how many samples were used.
        reference: the target that the others are compared with.
        rows: network by network, in the order given, targets by name.
        remarks: what a reader of the accuracies has to know, a sentence each.
    """

    data: str
    samples: int
    reference: str
    rows: tuple[SurveyRow, ...]
    remarks: tuple[str, ...] = ()

    def table(self) -> Table:
        """Each network on each target."""
        return Table(
            f"{self.data}, {counted(self.samples, 'sample')}; flipped against {self.reference}",
            (
                "network",
                "target",
                next((row.score.name for row in self.rows if row.score), "accuracy %"),
                *("flipped", "p50 ms", "why it did not run"),
            ),
            [
                (
                    row.network,
                    row.target,
                    figure_of(row.accuracy, row.score),
                    "" if row.flipped is None else f"{row.flipped:,}",
                    "" if row.profile is None else f"{row.profile.latency.p50_ms:.3g}",
                    row.failure,
                )
                for row in self.rows
            ],
        )

    def require_all(self) -> None:
        """Refuse a survey with gaps.

        Raises:
            TargetError: a target failed; its row says why.
        """
        failed = [f"{row.network} on {row.target}" for row in self.rows if row.failure]
        if failed:
            raise TargetError(
                f"{len(failed)} of {len(self.rows)} did not run: {', '.join(failed)}",
                hint="each row says why and what to do",
            )


@dataclass(frozen=True, slots=True, eq=False)
class _Ran:
    """What one target answered."""

    pair: Pair
    outputs: NDArray[np.float32]
    answering: Answering
    facts: Mapping[str, str]
    score: Score | None = None

    def like(self, other: _Ran) -> _Ran:
        """The same with its outputs in the order of axes of another's."""
        first, mine = (Output(ran.pair.artefact, ran.outputs.shape[1:]) for ran in (other, self))
        return replace(
            self,
            outputs=in_order(self.outputs, order_like(first, mine)).reshape(other.outputs.shape),
        )


def survey(
    networks: Sequence[Path],
    source: DataSource,
    *,
    targets: Sequence[str] = (),
    reference: str = REFERENCE,
    split: str = "test",
    limit: int | None = None,
    threads: int = 1,
    seconds: float | None = 1.0,
    task: AskedTask | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Survey:
    """Export each network for each target, run it there, and compare with the reference.

    The reference runs the very file that the other target runs, where it opens files of that
    format; else its own.

    Args:
        networks: training folders, checkpoints or QDQ ONNX files.
        source: the data.
        targets: names; empty for all that are usable here, those that have to be asked for
            elsewhere too.
        reference: the target that the others are compared with; it is run too where it is not among
            them.
        split: which part of the data.
        limit: how many samples, spread evenly; None for all.
        threads: the most threads a runtime may use.
        seconds: how long each session is timed, at least; None for not at all.
        task: what the answers are judged by; None for the task of the data.
        progress: called with the stages done and the stages in all.

    Raises:
        UsageError: no network, no samples, an unknown split.
        ArtefactError: a network is missing or broken.
        TargetError: the reference, or every target that was named, is not usable here.
    """
    if not networks:
        raise UsageError(
            "there is nothing to survey",
            hint="name at least one training folder, checkpoint or QDQ ONNX file",
        )
    asked = asked_for(targets) if targets else {}
    usable = {
        name: each.target
        for name, each in asked.items()
        if each.target is not None and each.problem is None
    }
    table = require_targets([reference]) | (usable if targets else usable_targets(on_request=True))
    problems = {name: each.problem for name, each in asked.items() if each.problem is not None}
    source = limited(source, split, limit)
    part = select(source, split)
    rows: list[SurveyRow] = []
    scored: list[tuple[str, Answering, Accuracy | None]] = []
    with temporary_folder() as folder:
        files = files_of(networks)
        found = [
            _Network(path, table, folder / str(i), threads, task or AskedTask())
            for i, path in enumerate(files)
        ]
        total = sum(len(network.names(reference)) for network in found)
        done = itertools.count(1)
        for network in found:
            found_rows, read = _rows(
                network, part, source, reference, seconds, lambda: progress(next(done), total)
            )
            rows += found_rows
            rows += [
                SurveyRow(network.name, name, failure=f"{error.what}; {error.hint}")
                for name, error in problems.items()
            ]
            scored += [
                (f"{row.network} on {row.target}", read[row.target], row.accuracy)
                for row in found_rows
                if row.target in read
            ]
    known = [(f"{row.network} on {row.target}", row.score) for row in rows if row.score is not None]
    said = (
        told_scores(known)
        if known
        else remarks(scored, source, lambda _: tried_on_reference(networks[0], source, part))
    )
    said = (*filter(None, (source.remark,)), *said)
    return Survey(source.name, len(part), reference, tuple(rows), said)


class _Network:
    """One network's files and answers."""

    def __init__(
        self,
        source: Path,
        table: Mapping[str, Target],
        folder: Path,
        threads: int,
        task: AskedTask,
    ) -> None:
        self.source, self.table, self.folder, self.threads = source, table, folder, threads
        self.task = task
        self.name, self.format = default_stem(source), detect(source)
        self.files: dict[Dialect, Path] = {}
        self.beside: dict[Path, _Ran] = {}

    def names(self, reference: str) -> list[str]:
        """The targets that can run this network in some format, the reference first.

        Some run checkpoints only.
        """
        able = [
            name
            for name, target in self.table.items()
            if target.capabilities.dialect or self.format in target.capabilities.formats
        ]
        return sorted(able, key=lambda name: (name != reference, name))

    def try_on(self, name: str, part: Split, source: DataSource) -> _Ran | EdgeqError:
        """What a target answers, or why it does not."""
        try:
            return self._run(Pair(self._file(name), name), part, source)
        except Exception as error:  # noqa: BLE001  a target may be anybody's
            return told(error)

    def reference_for(
        self, one: _Ran, reference: str, part: Split, source: DataSource
    ) -> _Ran | None:
        """What the reference answers for the same file, or for its own, with the axes of ``one``.

        None for itself, and where it cannot answer or nothing tells which axis is which.
        """
        if one.pair.target == reference or reference not in self.names(reference):
            return None
        try:
            same = detect(one.pair.artefact) in self.table[reference].capabilities.formats
            path = one.pair.artefact if same else self._file(reference)
            if path not in self.beside:
                self.beside[path] = self._run(Pair(path, reference), part, source)
            return self.beside[path].like(one)
        except EdgeqError:
            return None

    def _run(self, pair: Pair, part: Split, source: DataSource) -> _Ran:
        with self.table[pair.target].open(pair.artefact, threads=self.threads) as session:
            judge = Judge(self.task, source, part, 1)
            outputs = _answers(session, part, source, judge)
            read = judge.answering(pair.artefact, session.output, outputs.shape[1:], source)
            (score,) = judge.results() or [None]
            return _Ran(pair, outputs, read, dict(session.facts), score)

    def saturation(self, one: _Ran, part: Split, source: DataSource) -> PairSaturation | None:
        """What the file that ran there loses on this machine."""
        return saturation_here(
            one.pair,
            one.pair.artefact.name,
            samples=Samples(source, part),
            threads=self.threads,
            file=self.source,
        )

    def output_grid(self) -> QuantParams | None:
        """The grid of the network's output.

        None where it ends in float, or where only targets can read it.
        """
        from edgeq.qdq.reader import read_qdq

        try:
            last = read_qdq(canonical(self.source), float_fallback=True).outputs[0]
        except EdgeqError:
            return None
        return None if last.epilogue or last.tensor.is_float else last.tensor.params

    def _file(self, name: str) -> Path:
        """The network as this target wants it; targets of one dialect share a file."""
        dialect = self.table[name].capabilities.dialect
        if dialect is None:
            return self.source
        if dialect not in self.files:
            folder = self.folder / str(len(self.files))
            folder.mkdir(parents=True, exist_ok=True)
            (written,) = export(
                self.source,
                [],
                folder,
                ExportOptions(),
                stem=self.name,
                overwrite=True,
                targets=[name],
            )
            self.files[dialect] = written.path
        return self.files[dialect]


def _rows(
    network: _Network,
    part: Split,
    source: DataSource,
    reference: str,
    seconds: float | None,
    ran: Callable[[], None],
) -> tuple[list[SurveyRow], dict[str, Answering]]:
    answers: dict[str, _Ran | EdgeqError] = {}
    for name in network.names(reference):
        answers[name] = network.try_on(name, part, source)
        ran()
    grid = network.output_grid() if any(isinstance(one, _Ran) for one in answers.values()) else None
    pairs = [one.pair for one in answers.values() if isinstance(one, _Ran)]
    timed = Profiled((), ())
    if seconds is not None and pairs:
        timed = profile_each(pairs, source=source, threads=network.threads, seconds=seconds)
    latency = {taken.target: taken for taken in timed.profiles}
    failed = {failure.target: f"{failure.what}; {failure.hint}" for failure in timed.failures}
    rows = {
        name: replace(
            _row(one, network.reference_for(one, reference, part, source), grid, part),
            saturating=network.saturation(one, part, source),
        )
        if isinstance(one, _Ran)
        else SurveyRow(failure=f"{one.what}; {one.hint}")
        for name, one in answers.items()
    }
    named = [
        replace(
            row,
            network=network.name,
            target=name,
            profile=latency.get(name),
            failure=failed.get(name, row.failure),
        )
        for name, row in rows.items()
    ]
    return named, {name: one.answering for name, one in answers.items() if isinstance(one, _Ran)}


def _row(one: _Ran, other: _Ran | None, grid: QuantParams | None, part: Split) -> SurveyRow:
    answers = one.answering.of(one.outputs)
    drift = _drift(other, one, grid) if other else None
    _, differs = agreement(answers, other.answering.of(other.outputs)) if other else (None, None)
    return SurveyRow(
        artefact=one.pair.artefact.name,
        size_bytes=size_of(one.pair.artefact),
        accuracy=one.answering.accuracy(answers, part),
        flipped=None if differs is None else int(differs.sum()),
        lsb=drift.lsb if drift else {},
        max_lsb=drift.max_lsb if drift else None,
        metrics=drift.metrics if drift else {},
        facts=one.facts,
        score=one.score,
    )


def _drift(first: _Ran, one: _Ran, grid: QuantParams | None) -> Drift | None:
    """How far outputs are from the reference's, in LSB; None where the output has no grid."""
    if grid is None:
        return None
    meter = DriftMeter("output")
    meter.update(
        QuantizedTensor(grid.quantize(first.outputs), grid),
        QuantizedTensor(grid.quantize(one.outputs), grid),
    )
    return meter.result()


def _answers(
    session: Session, part: Split, source: DataSource, judge: Judge
) -> NDArray[np.float32]:
    """The first output for every sample, (samples, ...), once all have been judged."""
    first = []
    for images, _ in fed(part, source, BATCH):
        outputs = session.run_all(images)
        judge.add([outputs])
        first.append(outputs[session.output.name])
    return np.concatenate(first)
