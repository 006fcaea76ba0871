"""What comparisons and profiles find.

Plain frozen records that the command line prints, the gate judges and the report draws.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeq.errors import TargetError
from edgeq.tabular import Table, Tabular, counted, share

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.qdq.ort_x86.saturation import PairSums
    from edgeq.timing import Latency
    from edgeq.timing.details import OperatorTime, StartUp


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Top-1 accuracy on pinned samples.

    Attributes:
        correct: samples classified right.
        total: samples.
        low: lower end of the 95 % Wilson interval, a fraction.
        high: upper end, a fraction.
    """

    correct: int
    total: int
    low: float
    high: float

    @property
    def fraction(self) -> float:
        """The share of samples classified right."""
        return self.correct / self.total


@dataclass(frozen=True, slots=True)
class Score:
    """How well a stage does a task; see :mod:`edgeq.tasks`.

    Attributes:
        name: of the figure: ``mAP50-95``.
        value: the figure; NaN where the data leave it undefined.
        samples: how many it is about.
        higher_is_better: whether more is better.
        percent: whether it is a fraction that people read in per cent.
        unit: of a figure that is none.
        chance: what guessing reaches, None where that says nothing.
        interval: the ends of its 95 % interval; None where none is known.
        further: other figures of the same answers, by name.
        plain: which of them are no fractions, whatever the figure itself is.
        opposite: which of them are better the other way than the figure itself.
        per_class: the figure of each class that the data have.
        per_slice: of each way to divide the samples or objects, the figure of each part.
        threshold: the decision threshold at which F1 is best; None where nothing is decided so.
        remarks: what was guessed and what a reader has to know, a sentence each.
    """

    name: str
    value: float
    samples: int
    higher_is_better: bool = True
    percent: bool = True
    unit: str = ""
    chance: float | None = None
    interval: tuple[float, float] | None = None
    further: Mapping[str, float] = field(default_factory=dict)
    plain: tuple[str, ...] = ()
    opposite: tuple[str, ...] = ()
    per_class: Mapping[str, float] = field(default_factory=dict)
    per_slice: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    threshold: float | None = None
    remarks: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """Its name and unit, above a column of it."""
        return f"{self.name} %" if self.percent else f"{self.name} {self.unit}".rstrip()

    def is_share(self, name: str) -> bool:
        """Whether its figure, or a further one, is a fraction that people read in per cent."""
        return self.percent and name not in self.plain

    def figures(self) -> dict[str, Score]:
        """Itself and each further figure by name, each as a score of its own."""
        further = {
            name: Score(
                name,
                value,
                self.samples,
                higher_is_better=self.higher_is_better != (name in self.opposite),
                percent=self.is_share(name),
                unit="" if name in self.plain else self.unit,
            )
            for name, value in self.further.items()
        }
        return {self.name: self, **further}

    def worst(self) -> tuple[str, float] | None:
        """The class or slice of the worst figure, in words, and that; None where there is none."""
        parts = [(f"class {name}", value) for name, value in self.per_class.items()]
        for slicing, values in self.per_slice.items():
            parts.extend((f"{slicing} {name}", value) for name, value in values.items())
        known = [part for part in parts if part[1] == part[1]]
        if not known:
            return None
        sign = 1 if self.higher_is_better else -1
        return min(known, key=lambda part: sign * part[1])


@dataclass(frozen=True, slots=True)
class Drift:
    """How far one tensor is from the same tensor of another stage, over all samples.

    Attributes:
        tensor: its name; ``output`` for the network's result.
        depth: its position in the graph, from 0.
        elements: values compared.
        metrics: each metric's name to its figure; see :mod:`edgeq.metrics`. In JSON they stand
            beside the other fields.
        lsb: difference in quantisation steps to number of values, where both stages have the tensor
            on the same grid; steps beyond +-8 are counted at +-8. Empty where the tensor has no
            common grid.
        max_lsb: the largest difference in quantisation steps, as large as it is; None where the
            tensor has no common grid.
    """

    tensor: str
    depth: int
    elements: int
    metrics: Mapping[str, float] = field(metadata={"inline": True})
    lsb: Mapping[int, int] = field(default_factory=dict)
    max_lsb: int | None = None

    @property
    def mse(self) -> float:
        """Mean squared error, in squared real units."""
        return self.metrics["mse"]

    @property
    def rmse(self) -> float:
        """Its root, in real units."""
        return self.metrics["rmse"]

    @property
    def sqnr_db(self) -> float:
        """Signal to quantisation noise, in dB; infinite where equal."""
        return self.metrics["sqnr_db"]

    @property
    def max_abs(self) -> float:
        """The largest absolute error, in real units."""
        return self.metrics["max_abs"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One artefact on one target.

    Attributes:
        artefact: the file's name, without its folder.
        target: the target's name.
        size_bytes: of the file.
        accuracy: on the data, None where what it answers has none.
        agreement: share of samples with the same answer as the reference stage: the place of the
            largest value, or the class itself; of answers of many classes a sample, the share of
            those. None for one value a sample that is no class.
        flipped: ids of the samples whose answer differs from the reference's, at most 100.
        facts: what the session says about itself.
        answers: what the output is: ``scores`` of classes, ``classes``, or other ``values``.
        changed: how many samples have another answer than at the reference stage; None as for
            ``agreement``.
        score: how well it does the task of the data, or the one that was named; None where that is
            top-1 accuracy.
    """

    artefact: str
    target: str
    size_bytes: int
    accuracy: Accuracy | None
    agreement: float | None
    flipped: tuple[int, ...]
    facts: Mapping[str, str]
    answers: str = "scores"
    changed: int | None = None
    score: Score | None = None

    @property
    def name(self) -> str:
        """``artefact @ target``."""
        return f"{self.artefact} @ {self.target}"


@dataclass(frozen=True, slots=True)
class DegreeError:
    """The error of nodes of some degrees.

    Attributes:
        low: the smallest degree, in neighbours.
        high: the largest.
        nodes: how many there are.
        mse: of all their states, in squared real units.
        sqnr_db: of the same.
    """

    low: int
    high: int
    nodes: int
    mse: float
    sqnr_db: float

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """Degrees, nodes, MSE and SQNR for people."""
        ends = str(self.low) if self.low == self.high else f"{self.low} to {self.high}"
        return ends, f"{self.nodes:,}", f"{self.mse:.2e}", f"{self.sqnr_db:.1f}"


@dataclass(frozen=True, slots=True)
class Hop:
    """The drift between two stages.

    Attributes:
        source: name of the stage taken as true.
        stage: name of the stage compared with it.
        cause: what lies between them: quantisation, graph optimisation, conversion, kernel
            rounding, pairs of products that saturate; "nothing" where no number differs.
        output: drift of the network's result.
        tensors: drift of each tensor both stages show, in graph order; empty where one shows none.
        outputs: drift of each output of a network with several, by the names of the first stage.
        without_tensors: why ``tensors`` is empty, a sentence; empty where it is not, or where none
            were asked for.
        degrees: of a graph, the error of the states of all steps by the degree of nodes.
    """

    source: str
    stage: str
    cause: str
    output: Drift
    tensors: tuple[Drift, ...]
    outputs: tuple[Drift, ...] = ()
    without_tensors: str = ""
    degrees: tuple[DegreeError, ...] = ()


@dataclass(frozen=True, slots=True)
class Growth:
    """A line through the SQNR of blocks, one behind the other.

    Attributes:
        rate_db: how much of the SQNR each block costs; below zero where the error shrinks.
        low_db: the lower end of its 95 % interval.
        high_db: the upper end.
        blocks: how many there were.
    """

    rate_db: float
    low_db: float
    high_db: float
    blocks: int


@dataclass(frozen=True, slots=True)
class DepthGrowth:
    """How far a stage is from another one at the end of each block.

    Attributes:
        source: name of the stage taken as true.
        stage: name of the stage compared with it.
        rate: what a block costs of the SQNR, with its interval; None where fewer than three blocks
            have an error.
        mse: the mean squared error of all blocks together, in squared real units.
        rmse: its root, in real units.
        blocks: the drift of the tensor at the end of each, in the graph's order.
    """

    source: str
    stage: str
    rate: Growth | None
    mse: float
    rmse: float
    blocks: tuple[Drift, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A stage that was to run and could not.

    Its runtime refused the file, crashed, or answered with garbage.

    Attributes:
        artefact: the file's name.
        target: the target's name.
        what: what went wrong.
        hint: what can be done about it.
        expected: why nothing else could be expected, a sentence; empty where it could.
    """

    artefact: str
    target: str
    what: str
    hint: str
    expected: str = ""

    @property
    def name(self) -> str:
        """``artefact @ target``."""
        return f"{self.artefact} @ {self.target}"


def require_all(failures: Sequence[Failure]) -> None:
    """Return when everything ran.

    Raises:
        TargetError: something did not; says what, of each.
    """
    if failures:
        raise TargetError(
            "; ".join(f"{failure.name}: {failure.what}" for failure in failures),
            hint=failures[0].hint,
        )


@dataclass(frozen=True, slots=True)
class LayerSaturation:
    """A layer whose pairs of products can saturate on an x86 processor without VNNI.

    See :mod:`edgeq.qdq.ort_x86.saturation`.

    Attributes:
        layer: its name in the file.
        tensor: the name of its result.
        op_type: the ONNX operator.
        extreme: the pair sum farthest from zero that weights and input allow; 16 bits hold -32,768
            to 32,767.
        pairs: pairs of weights that can leave 16 bits.
        total: all its pairs of weights.
        sums: sums of products computed on the data; 0 without data.
        saturated_pairs: pairs of products among them that did saturate.
        wrong_sums: sums that came out wrong.
    """

    layer: str
    tensor: str
    op_type: str
    extreme: int
    pairs: int
    total: int
    sums: int = 0
    saturated_pairs: int = 0
    wrong_sums: int = 0

    @classmethod
    def of(cls, sums: PairSums) -> LayerSaturation:
        """A layer without data."""
        return cls(sums.layer, sums.tensor, sums.op_type, sums.extreme, sums.pairs, sums.total)


@dataclass(frozen=True, slots=True)
class PairSaturation:
    """A file that loses sums on a target, since the processor is an x86 without VNNI.

    Or the target emulates one.

    Attributes:
        artefact: the file's name.
        target: the target's name.
        layers: the layers whose pairs of products can saturate, in graph order.
        what: what is the matter, in a sentence that names the layer that is hit worst.
        hint: the command that writes the same numbers so that none can.
    """

    artefact: str
    target: str
    layers: tuple[LayerSaturation, ...]
    what: str
    hint: str

    @property
    def name(self) -> str:
        """``artefact @ target``."""
        return f"{self.artefact} @ {self.target}"

    @property
    def counted(self) -> bool:
        """Whether it was looked at on samples what happens to the sums."""
        return any(layer.sums for layer in self.layers)

    @property
    def wrong(self) -> bool:
        """Whether sums were seen to come out wrong there."""
        return any(layer.wrong_sums for layer in self.layers)


@dataclass(frozen=True, slots=True, repr=False)
class Comparison(Tabular):
    """Several stages on the same samples.

    Attributes:
        data: the data set's name.
        samples: how many samples were used.
        reference: name of the stage that the others are compared with.
        stages: in the order of the chain, the reference first.
        hops: from each stage to the next.
        from_reference: from the reference to each other stage.
        failures: stages that could not run; they are in none of the above.
        remarks: what a reader of the accuracies has to know, a sentence each.
        saturating: stages whose sums are or may be wrong because pairs of products saturate.
        growth: how the error of each stage grows with depth, where it was asked for.
    """

    data: str
    samples: int
    reference: str
    stages: tuple[Stage, ...]
    hops: tuple[Hop, ...]
    from_reference: tuple[Hop, ...]
    failures: tuple[Failure, ...] = ()
    remarks: tuple[str, ...] = ()
    saturating: tuple[PairSaturation, ...] = ()
    growth: tuple[DepthGrowth, ...] = ()

    def table(self) -> Table:
        """Accuracy of each stage, and the drift of the hop before it."""
        drift = {hop.stage: hop for hop in self.hops}
        rows = [
            (
                stage.name,
                figure_of(stage.accuracy, stage.score),
                share(stage.agreement),
                "" if stage.changed is None else f"{stage.changed:,}",
                f"{drift[stage.name].output.sqnr_db:.1f}" if stage.name in drift else "",
                drift[stage.name].cause if stage.name in drift else "",
            )
            for stage in self.stages
        ]
        failed = [(failure.name, "", "", "", "", failure.what) for failure in self.failures]
        return Table(
            f"{self.data}, {counted(self.samples, 'sample')}; agreement with {self.reference}",
            (
                "stage",
                next((stage.score.name for stage in self.stages if stage.score), "accuracy %"),
                *("agrees %", "flipped", "SQNR dB", "cause"),
            ),
            [*rows, *failed],
        )


def figure_of(accuracy: Accuracy | None, score: Score | None) -> str:
    """What a stage is judged by, as a table has it."""
    if score is None:
        return share(accuracy.fraction if accuracy else None)
    return share(score.value) + " %" if score.percent else f"{score.value:.4g} {score.unit}".strip()


@dataclass(frozen=True, slots=True)
class Profile:
    """Latency of one artefact on one target.

    Attributes:
        artefact: the file's name.
        target: the target's name.
        threads: the most threads it might use.
        batch: samples an invocation.
        kind: measured, simulated or estimated.
        latency: the figures.
        size_bytes: of the file.
        facts: what the session says about itself.
        saturating: the layers whose pairs of products can saturate there; None where none can.
        start_up: what the runtime took to begin with it; None where it was not looked at alone.
        operators: what each operator takes in a run; empty where none was asked or told.
        macs: multiplications with addition for one sample; None where that is not known.
        peak_share: what its MACs would take at the machine's measured peak, over its latency; None
            where one of them is not known.
        notes: what of this could not be measured, and why.
    """

    artefact: str
    target: str
    threads: int
    batch: int
    kind: str
    latency: Latency
    size_bytes: int
    facts: Mapping[str, str] = field(default_factory=dict)
    saturating: PairSaturation | None = None
    start_up: StartUp | None = None
    operators: tuple[OperatorTime, ...] = ()
    macs: int | None = None
    peak_share: float | None = None
    notes: tuple[str, ...] = ()
