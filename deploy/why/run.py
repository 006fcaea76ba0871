"""Runs the chain, judges each stage, and says why one computes something else."""

from __future__ import annotations

import shlex
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from edgeq.data.batching import fed, samples_in
from edgeq.data.splitting import limited
from edgeq.deploy.diff.run import diff
from edgeq.deploy.evaluation.chain import load_target, open_replay
from edgeq.deploy.evaluation.compare import Observed, compare, shorten
from edgeq.deploy.evaluation.saturation.pair_saturation import Samples, saturation_here
from edgeq.deploy.evaluation.stage_runner import select
from edgeq.deploy.origin.differences import origin_of
from edgeq.deploy.pipeline.reading import view_of
from edgeq.deploy.why.causes import causes_of, file_numbers, preprocessing, quantization
from edgeq.deploy.why.evidence import Evidence, plan_of
from edgeq.deploy.why.exposing import exposed
from edgeq.deploy.why.file_faults import faults_in
from edgeq.deploy.why.floats import Floats
from edgeq.deploy.why.measure import Renamed, StageMeter, by_names_of, one_thread, shown_by
from edgeq.deploy.why.noise import Noise, excess, is_another
from edgeq.deploy.why.places import places_of, places_unread
from edgeq.deploy.why.records import Why
from edgeq.deploy.why.stages import is_quantized, judged, with_reference
from edgeq.deploy.why.verdicts import Answers, answers_of, differ, unjudged_in, verdict_of
from edgeq.errors import EdgeqError
from edgeq.formats.artefact import detect
from edgeq.formats.onnx_io import all_stays, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    import onnx_ir as ir

    from edgeq.data import DataSource, Split
    from edgeq.deploy.diff.run import FileDiff
    from edgeq.deploy.evaluation.chain import Pair
    from edgeq.deploy.evaluation.outputs.scoring import AskedTask
    from edgeq.deploy.evaluation.stage_runner import Opened, StageOutput
    from edgeq.deploy.origin.differences import Origin
    from edgeq.deploy.why.evidence import Place
    from edgeq.deploy.why.exposing import ExposedSession
    from edgeq.deploy.why.records import Cause, OperatorError
    from edgeq.deploy.why.stages import Judged
    from edgeq.diffing.replay import Recorded, ReplaySession
    from edgeq.linting.model import LintModel
    from edgeq.quant import QuantParams
    from edgeq.target import Batch, Shown
    from edgeq.targets.emulator.session import EmulatorSession

_FEW = 4


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """What was found, with what it takes to show it again.

    Attributes:
        why: the verdicts.
        stages: what each stage is judged by, in their order.
        meters: the errors of each stage whose tensors can be seen.
        file: the first quantised file, whose operators the others are judged by.
    """

    why: Why
    stages: tuple[Judged, ...]
    meters: Mapping[Pair, StageMeter]
    file: Path | None


def why(
    stages: Sequence[Pair],
    source: DataSource,
    *,
    split: str = "test",
    limit: int | None = None,
    threads: int = 1,
    task: AskedTask | None = None,
    given: Sequence[str] = (),
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Findings:
    """Find where the stages of a network part, and why.

    Args:
        stages: what runs where, in the order of the chain; the first quantised file also runs on
            the reference of its format.
        source: the data.
        split: which part of it.
        limit: how many samples, spread evenly; None for all.
        threads: the most threads a runtime may use.
        task: what the answers are judged by; None for the task of the data.
        given: the flags that name the data and how they are fed; none for data given as an object.
        progress: called with the samples done and the samples in all.

    Raises:
        UsageError: no stage, an unknown split, no samples, or no labels for the task.
        ArtefactError: no artefact is whole or fits the data.
        TargetError: the runtime of every stage is absent or failed.
    """
    rounded, source = is_quantized(stages), limited(source, split, limit)
    part = select(source, split)
    pairs = with_reference(stages, rounded)
    watcher = _Watcher(source, part, threads, rounded, given or ("--data", source.name))
    observed = compare(
        pairs,
        source,
        split=split,
        threads=threads,
        tensors=False,
        task=task,
        watcher=watcher,
        progress=progress,
    )
    names = shorten([pair.artefact for pair in pairs])
    return watcher.chain.finish(
        observed, {pair: f"{names[pair.artefact]} @ {pair.target}" for pair in pairs}
    )


def _calibration(network: Path, data: Sequence[str]) -> list[str]:
    return ["edgeq", "calibrate", str(network), *data, "-o", "again.onnx"]


@dataclass(slots=True)
class _Watcher:
    """Judges the operators while the stages answer; see :class:`Watcher` of ``compare``."""

    source: DataSource
    part: Split
    threads: int
    rounded: Mapping[Pair, bool]
    given: Sequence[str]
    chain: _Chain = field(init=False)

    def begin(self, opened: Sequence[Opened], stack: ExitStack) -> None:
        pairs = judged([each.pair for each in opened], self.rounded)
        self.chain = _Chain(pairs, self.source, self.part, self.threads, self.given)
        self.chain.begin(opened, stack)

    def see(self, batch: Batch, seen: Sequence[StageOutput]) -> None:
        stages = zip(self.chain.stages, seen, strict=True)
        self.chain.see(batch, [shown_by(stage, one) for stage, one in stages])


class _Chain:
    """One run: sessions, meters, and what is known of the files."""

    def __init__(
        self,
        stages: Sequence[Judged],
        source: DataSource,
        part: Split,
        threads: int,
        given: Sequence[str],
    ) -> None:
        self.stages, self.source, self.part, self.threads = stages, source, part, threads
        self.given = given
        self.meters: dict[Pair, StageMeter] = {}
        self.floats = Floats(stages)
        self.program: ReplaySession | None = None
        self.counting: dict[Pair, EmulatorSession] = {}
        self.exposed: dict[Pair, ExposedSession] = {}
        self.done = 0
        self.places: dict[str, Place] = {}
        self.remarks: list[str] = []
        self.overflows: dict[Pair, Mapping[str, Any]] = {}
        self.origin: Origin | None = None
        self.faults: list[Cause] = []
        self.misfed: Cause | None = None
        self.grids: dict[str, QuantParams] = {}
        files = (
            each.pair.artefact
            for each in stages
            if each.quantized and detect(each.pair.artefact) != "checkpoint"
        )
        self.file: Path | None = next(files, None)
        self.model: ir.Model | None = None

    def begin(self, opened: Sequence[Opened], stack: ExitStack) -> None:
        """Read the files, and see to it that every stage shows its tensors."""
        if self.file is None:
            return
        with all_stays():
            self.program = self._program()
            if detect(self.file) == "onnx":
                with suppress(EdgeqError):  # its runtimes tell what is wrong with it
                    self.model = read(self.file)
            self.places = self._places(self.program)
            self.origin = self._origin()
        if self.program is None:
            return
        self.grids = {
            each.tensor: each.params for each in self.program.operators if each.params is not None
        }
        self._expose(opened, stack)

    def see(self, batch: Batch, seen: Sequence[Shown]) -> None:
        """Judge each operator of a batch.

        Args:
            batch: the samples.
            seen: the tensors of each stage; none where it does not show them by itself.
        """
        self.floats.see(seen)
        if self.program is None:
            return
        with one_thread():
            self._judge(self.program, batch, seen)

    def _judge(self, program: ReplaySession, batch: Batch, seen: Sequence[Shown]) -> None:
        recorded = {
            stage.pair: self._by_names(program, stage.pair, shown)
            for stage, shown in zip(self.stages, seen, strict=True)
            if stage.pair in self.meters
            for shown in [
                self.exposed[stage.pair].tensors(batch) if stage.pair in self.exposed else shown
            ]
        }
        for stage in self.stages:
            if stage.pair not in recorded:
                continue
            meter = self.meters[stage.pair]
            meter.samples += samples_in(batch)
            if not self._is_itself(stage):
                meter.add(program, batch, recorded[stage.pair], self.done)
            if stage.against is not None and stage.against in recorded:
                meter.accumulate(program, recorded[stage.against], recorded[stage.pair])
        self.done += samples_in(batch)
        for pair, session in self.counting.items():
            self.overflows[pair] = {each.work.name: each.stats for each in session.layers()}

    def _program(self) -> ReplaySession | None:
        """The first quantised file, opened where its operators can be given numbers."""
        if self.file is None:
            return None
        found, why_not = open_replay(self.file)
        if why_not is not None:
            how = "not judged one by one"
            if found is not None:
                how = "judged from one quantised tensor to the next"
            self.remarks.append(f"operators of {self.file.name} are {how}, since {why_not.what}")
        return found

    def _places(self, program: ReplaySession | None) -> dict[str, Place]:
        if program is not None:
            return places_of(self.model, program.operators)
        with suppress(EdgeqError):
            return {} if self.model is None else places_unread(self.model)
        return {}

    def _origin(self) -> Origin | None:
        """The first quantised file held against the float one; None where there is none."""
        stage = next((each for each in self.stages if each.from_float), None)
        if stage is None or stage.against is None or self.file is None:
            return None
        real = stage.against.artefact
        if detect(real) != "onnx":
            return None
        try:
            found = origin_of(real, self.file, self.places, self.model)
        except EdgeqError as error:
            self.remarks.append(f"{self.file.name} is not held against {real.name}: {error.what}")
            return None
        self.remarks += [each for each in (found.remark, found.arrangement) if each]
        return found

    def _by_names(
        self, program: ReplaySession, pair: Pair, recorded: Mapping[str, Recorded]
    ) -> Renamed:
        """A recording by the names of the first quantised file."""
        if self.origin is not None and any(
            each.from_float and each.against == pair for each in self.stages
        ):
            values = self.origin.values
            found = {name: its for name, its in values.items() if its in recorded}
            return Renamed.of_floats(program, found, recorded)
        return by_names_of(program, recorded)

    def _is_itself(self, stage: Judged) -> bool:
        """Whether it is what the others are judged by: the first file, on its reference."""
        capabilities = load_target(stage.pair.target).capabilities
        return stage.pair.artefact == self.file and capabilities.reference

    def _expose(self, opened: Sequence[Opened], stack: ExitStack) -> None:
        """Begin the meters of stages that show their tensors, by themselves or in other files."""
        one, few = (
            next(images for images, _ in fed(self.part, self.source, count)) for count in (1, _FEW)
        )
        for stage, each in zip(self.stages, opened, strict=True):
            path, target = stage.pair.artefact, load_target(stage.pair.target)
            if each.intermediates and each.session.tensors(one):
                self.meters[stage.pair] = StageMeter()
                if target.capabilities.replays:
                    self.counting[stage.pair] = cast("EmulatorSession", each.session)
            elif stage.quantized:
                with self._remarked(f"{stage.pair.target} shows no tensors of {path.name}"):
                    self.exposed[stage.pair] = exposed(
                        target, path, few, stack, threads=self.threads
                    )
                    self.meters[stage.pair] = StageMeter()

    @contextmanager
    def _remarked(self, what: str) -> Iterator[None]:
        """Go on where something cannot be done, and say why."""
        try:
            yield
        except EdgeqError as error:
            self.remarks.append(f"{what}: {error.what}")

    # ---- what it means -------------------------------------------------------------------------

    def finish(self, observed: Observed, names: Mapping[Pair, str]) -> Findings:
        """Causes and verdicts of all stages."""
        compared = observed.comparison
        causes = preprocessing.find(observed.doubts)
        self.misfed = causes[0] if causes else None
        self.faults = self._faults()
        if not any(stage.from_float for stage in self.stages):
            causes += self.faults
        explained: dict[Pair, list[int]] = {}
        answers: dict[Pair, Answers] = {}
        for stage in self.stages:
            against = "" if stage.against is None else names[stage.against]
            answers[stage.pair] = answers_of(observed, names[stage.pair], against, self.part.ids)
            differs = differ(observed, names[stage.pair], against)
            of_floats = self.floats.causes(stage, observed, names)
            explained[stage.pair] = [
                _noted(causes, cause, names[stage.pair])
                for cause in of_floats or self._causes(stage, answers[stage.pair], differs=differs)
            ]
        verdicts = tuple(
            verdict_of(
                stage,
                observed,
                names,
                self.meters.get(stage.pair),
                answers[stage.pair],
                tuple(explained[stage.pair]),
                causes,
                self.places,
                self.meters.get(stage.against) if stage.from_float and stage.against else None,
            )
            for stage in self.stages
        )
        unjudged = (unjudged_in(each) for each in verdicts)
        remarks = tuple(dict.fromkeys((*compared.remarks, *self.remarks, *filter(None, unjudged))))
        found = Why(
            compared.data, compared.samples, verdicts, tuple(causes), remarks, compared.failures
        )
        return Findings(found, tuple(self.stages), self.meters, self.file)

    def _causes(self, stage: Judged, answers: Answers, *, differs: bool) -> list[Cause]:
        meter = self.meters.get(stage.pair) or StageMeter()
        if not stage.quantized or stage.against is None:
            return []
        if stage.from_float:
            return self._of_origin(stage, answers)
        file = self._diff(stage)
        if not meter.wrong and (file is None or not file.differences):
            return []
        target = load_target(stage.pair.target)
        evidence = Evidence(
            stage.pair,
            stage.against,
            target.capabilities,
            self.places,
            meter,
            () if file is None else file.differences,
            0 if file is None else file.layers,
            self._reference_is_exact(stage),
            saturation_here(
                stage.pair,
                stage.pair.artefact.name,
                samples=Samples(
                    self.source,
                    self.part if meter.kept is None else self.part.take(meter.kept.indices),
                ),
                threads=self.threads,
            ),
            plan_of(target, stage.pair.artefact, self.threads) if meter.wrong else None,
            self.overflows.get(stage.pair),
            f"edgeq diff {stage.against.artefact} {stage.pair.artefact}",
            unmeasured=not meter.meters and stage.pair.target == stage.against.target and differs,
        )
        return causes_of(evidence)

    def _faults(self) -> list[Cause]:
        """What lint rules find; where the float file tells of scales, it tells of biases' too."""
        if self.file is None:
            return []
        told = self.origin is not None and any("scale" in e.kind for e in self.origin.differences)
        with suppress(EdgeqError):  # its runtimes tell what is wrong with it
            without = ("bias-scale",) if told else ()
            return faults_in(self._view(self.file), self.places, without=without)
        return []

    def _view(self, file: Path) -> LintModel:
        """The first quantised file as rules see it, read once where a float file is there."""
        return view_of(file) if self.origin is None else self.origin.view

    def _of_origin(self, stage: Judged, answers: Answers) -> list[Cause]:
        """Why a quantised stage differs from the float one by more than rounding."""
        if stage.against is None:
            return []
        results = self._float_errors(stage)
        rounding = self._rounding(stage.against)
        evidence = Evidence(
            stage.pair,
            stage.against,
            load_target(stage.pair.target).capabilities,
            self.places,
            StageMeter(),
            () if self.origin is None else self.origin.differences,
            remedy="quantise it again: "
            + shlex.join(_calibration(stage.against.artefact, self.given)),
        )
        found = file_numbers.by_operator(evidence, evidence.differences)
        of_values: list[Cause] = []
        if not found and (self.origin is None or not self.origin.remark):
            others = self._others(stage.against, rounding)
            of_values = quantization.beyond_rounding(evidence, results, rounding, others)
        found = sorted([*found, *of_values, *self.faults], key=_in_order)
        if not found and answers.lost is not None and answers.gained is not None:
            times = {name: None if each is None else sum(each) for name, each in rounding.items()}
            if answers.are_lost:
                file, lost, gained = stage.pair.artefact, answers.lost, answers.gained
                of_values = [quantization.find(file, results, self.places, lost, gained, times)]
        if self.misfed is not None and (of_values or not found):  # not the samples grids are for
            return [self.misfed, *(each for each in found if each not in of_values)]
        return found or of_values

    def _rounding(self, real: Pair) -> dict[str, tuple[float, float] | None]:
        """How many times what rounding gives each operator is off, within its grid and beyond."""
        if self.file is None or real not in self.meters:
            return {}
        layers = {
            place.operator.tensor: layer
            for layer in self._view(self.file).layers
            if (place := self.places.get(layer.node)) is not None
        }
        meters = self.meters[real].meters
        operators = () if self.program is None else self.program.operators
        noise = Noise({each.tensor: each for each in operators}, meters, self.grids)
        return {
            name: excess(meter, noise.of(name, layers.get(name))) for name, meter in meters.items()
        }

    def _others(self, real: Pair, rounding: Mapping[str, tuple[float, float] | None]) -> list[str]:
        """The operators of unknown rounding whose results are nothing like the float stage's."""
        meters = {} if real not in self.meters else self.meters[real].meters
        unknown = (each for name, each in meters.items() if rounding.get(name) is None)
        return [each.operator.tensor for each in unknown if is_another(each)]

    def _float_errors(self, stage: Judged) -> tuple[OperatorError, ...]:
        """How far operators are from the float stage, given its values."""
        meter = self.meters.get(stage.against) if stage.against is not None else None
        return () if meter is None else meter.results()

    def _diff(self, stage: Judged) -> FileDiff | None:
        """What the stage's file has otherwise than the first; None for that one itself."""
        if self.file is None or stage.pair.artefact == self.file:
            return None
        with suppress(EdgeqError):
            return diff(self.file, stage.pair.artefact)
        return None

    def _reference_is_exact(self, stage: Judged) -> bool:
        return any(
            other.pair.artefact == stage.pair.artefact
            and load_target(other.pair.target).capabilities.reference
            and not self.meters.get(other.pair, StageMeter()).wrong
            for other in self.stages
            if other.pair != stage.pair
        )


def _in_order(cause: Cause) -> tuple[bool, int]:
    """Where causes of a file stand among them: by their operators, those of none last."""
    return not cause.operator, cause.number


def _noted(causes: list[Cause], cause: Cause, stage: str) -> int:
    """The place of a cause among those known; one that is known already explains another stage."""
    for i, known in enumerate(causes):
        if (known.kind, known.operator, known.what) == (cause.kind, cause.operator, cause.what):
            causes[i] = replace(known, stages=(*known.stages, stage))
            return i
    causes.append(replace(cause, stages=(stage,)))
    return len(causes) - 1
