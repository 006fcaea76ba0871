"""What a machine that nobody here owns would make of an artefact.

Layer by layer, before it is bought.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from edgeq.data.batching import fed, samples_in
from edgeq.data.splitting import limited
from edgeq.deploy.evaluation.outputs.answers import Gathered, agreement
from edgeq.deploy.evaluation.outputs.scoring import AskedTask, Judge, told
from edgeq.deploy.evaluation.plausibility import Answered, remarks_on
from edgeq.deploy.evaluation.stage_runner import select
from edgeq.formats.artefact import resolve
from edgeq.metrics.drift import DriftMeter
from edgeq.tabular import Table, Tabular
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeq.data import DataSource, Split
    from edgeq.results import Accuracy, Drift, Score
    from edgeq.target import Session
    from edgeq.targets.emulator.hardware.costs import LayerCost
    from edgeq.targets.emulator.hardware.machine import HardwareProfile
    from edgeq.targets.emulator.program import OverflowStats
    from edgeq.targets.emulator.session import EmulatorSession, LayerReport

EMULATOR = "emulator"
BATCH = 64


@dataclass(frozen=True, slots=True)
class LayerEmulation:
    """One operator on the machine.

    Attributes:
        name: its name in the artefact.
        op_type: what it is there.
        place: the machine, or its host for operands wider than the machine takes.
        macs: multiplications with addition for one sample.
        counts: what happened to its sums, over all samples.
        cost: for one sample; None for a machine of unknown speed, as a host always is.
    """

    name: str
    op_type: str
    place: Literal["hardware", "host"]
    macs: int
    counts: OverflowStats
    cost: LayerCost | None


@dataclass(frozen=True, slots=True)
class Answers:
    """What the machine answers on samples.

    Attributes:
        data: the data set's name.
        samples: how many were run.
        accuracy: of the machine's answers; None where they have none.
        exact: of the answers of the reference arithmetic of the artefact's format, likewise.
        changed: samples that the two answer differently; None for one value a sample that is no
            class.
        remarks: what a reader of the accuracies has to know, a sentence each.
        score: how well the machine does the task; None where that is top-1 accuracy, or where the
            data have no labels.
        exact_score: how well the reference arithmetic does it, likewise.
        outputs: how far each output is from the reference arithmetic's.
    """

    data: str
    samples: int
    accuracy: Accuracy | None
    exact: Accuracy | None
    changed: int | None
    remarks: tuple[str, ...] = ()
    score: Score | None = None
    exact_score: Score | None = None
    outputs: tuple[Drift, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Emulation(Tabular):
    """An artefact on a machine.

    Attributes:
        artefact: the file's name.
        hardware: the profile's name.
        summary: what the machine is, in a line.
        assumed: the figures of its speed that nobody has published.
        answers: what it answers; None where no samples were run.
        layers: in the artefact's order.
        counts: of all layers.
        cost: of all layers, for one sample; None for a machine of unknown speed.
    """

    artefact: str
    hardware: str
    summary: str
    assumed: tuple[str, ...]
    answers: Answers | None
    layers: tuple[LayerEmulation, ...]
    counts: OverflowStats
    cost: LayerCost | None

    def table(self) -> Table:
        """Each layer with what happened to its sums."""
        return Table(
            f"{self.artefact} on {self.hardware}: {self.summary}",
            ("layer", "type", "place", "MACs", "sums", "overflowed", "wrong", "clipped"),
            [
                (
                    layer.name,
                    layer.op_type,
                    layer.place,
                    *(
                        f"{number:,}"
                        for number in (
                            layer.macs,
                            layer.counts.sums,
                            layer.counts.overflowed,
                            layer.counts.wrong,
                            layer.counts.clipped,
                        )
                    ),
                )
                for layer in self.layers
            ],
        )


def emulate(
    artefact: Path,
    hardware: str,
    *,
    source: DataSource | None = None,
    split: str = "test",
    limit: int | None = None,
    threads: int = 1,
    task: AskedTask | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Emulation:
    """Run an artefact in the arithmetic of a machine and count what that does to it.

    Args:
        artefact: a QDQ ONNX or TFLite file.
        hardware: a profile's name, the path of a profile, or either behind ``emulator:``.
        source: samples to run; None to estimate costs only.
        split: which part of them.
        limit: how many, spread evenly; None for all.
        threads: the most threads to compute with.
        task: what the answers are judged by; None for the task of the data.
        progress: called with the samples done and the samples in all.

    Raises:
        UsageError: no such machine, an unknown split, or no samples.
        ArtefactError: the artefact or the profile is broken, or does not fit the data or the
            machine.
    """
    from edgeq.targets.emulator.hardware.costs import total
    from edgeq.targets.emulator.program import OverflowStats

    path = resolve(artefact)
    target = TARGETS.load(f"{EMULATOR}:{hardware.removeprefix(f'{EMULATOR}:')}")
    with cast("EmulatorSession", target.open(path, threads=threads)) as session:
        answers = None
        if source is not None:
            with TARGETS.load(EMULATOR).open(path, threads=threads) as exact:
                source = limited(source, split, limit)
                part = select(source, split)
                judge = Judge(task or AskedTask(), source, part, 2)
                answers = _compare(path, session, exact, part, source, judge, progress)
        profile, layers = (
            session.profile,
            tuple(_layer(report, session.profile) for report in session.layers()),
        )
    return Emulation(
        artefact=path.name,
        hardware=profile.name,
        summary=profile.summary,
        assumed=assumed_figures(profile),
        answers=answers,
        layers=layers,
        counts=sum((layer.counts for layer in layers), OverflowStats()),
        cost=total([layer.cost for layer in layers if layer.cost is not None]),
    )


def assumed_figures(profile: HardwareProfile) -> tuple[str, ...]:
    """The names of the figures that a profile does not take from anything published."""
    if profile.costs is None:
        return ()
    speed = profile.costs
    figures = [
        ("clock", speed.clock_mhz),
        ("bytes a cycle", speed.bytes_per_cycle),
        ("outputs a cycle", speed.outputs_per_cycle),
        *(("MACs a cycle", rate.macs_per_cycle) for rate in speed.mac_rates),
    ]
    return tuple(dict.fromkeys(name for name, figure in figures if figure.assumed))


def _compare(
    path: Path,
    hardware: Session,
    exact: Session,
    part: Split,
    source: DataSource,
    judge: Judge,
    progress: Callable[[int, int], None],
) -> Answers:
    read = judge.answering(path, hardware.output, hardware.output.shape, source)
    given, wanted = Gathered(), Gathered()
    names = [spec.name for spec in hardware.outputs]
    drifts = {name: DriftMeter(name, depth) for depth, name in enumerate(names)}
    done = 0
    for images, _ in fed(part, source, BATCH):
        outputs = [session.run_all(images) for session in (hardware, exact)]
        judge.add(outputs)
        for kept, one in zip((given, wanted), outputs, strict=True):
            kept.append(read.of(one[hardware.output.name]))
        for name, meter in drifts.items():
            here, there = (one[name].reshape(len(one[name]), -1) for one in outputs)
            meter.update(there, here)
        done += samples_in(images)
        progress(done, len(part))
    mine, reference = given.all(), wanted.all()
    _, differs = agreement(mine, reference)
    scored = read.accuracy(mine, part)
    score, exact_score = judge.results() or (None, None)
    said = (
        told([(path.name, score)])
        if score is not None
        else remarks_on(
            [] if mine is None else [Answered(path.name, path, exact, mine[:, 0])],
            [(path.name, read, scored)],
            source,
            part,
        )[0]
    )
    return Answers(
        source.name,
        len(part),
        scored,
        read.accuracy(reference, part),
        None if differs is None else int(differs.sum()),
        (*filter(None, (source.remark,)), *said),
        score,
        exact_score,
        tuple(meter.result() for meter in drifts.values()),
    )


def _layer(report: LayerReport, profile: HardwareProfile) -> LayerEmulation:
    from edgeq.targets.emulator.hardware.costs import layer_cost
    from edgeq.targets.emulator.hardware.host_fallback import on_hardware

    work = report.work
    place = (
        on_hardware(profile, work.name, work.weight_bits, work.input_bits)
        if work.kind == "dot"
        else profile
    )
    return LayerEmulation(
        work.name,
        work.op_type,
        "hardware" if place is profile else "host",
        work.macs,
        report.stats,
        layer_cost(work, place),
    )
