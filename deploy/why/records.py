"""What `edgeq why` finds: a verdict for each stage, and the causes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from edgeq.results import figure_of
from edgeq.tabular import Table, Tabular, counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.results import Accuracy, Failure, Growth, Score

CauseKind = Literal[
    "preprocessing",
    "quantisation",
    "clipping",
    "grid",
    "fold",
    "conversion",
    "layout",
    "padding",
    "graph optimisation",
    "kernel rounding",
    "pair saturation",
    "accumulator",
    "float fallback",
    "runtime bug",
    "another version",
]
"""Everything that can be the matter."""

State = Literal["reference", "exact", "quantisation", "WRONG", "unknown"]


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a stage computes something else.

    Attributes:
        kind: one of the closed list.
        what: what is the matter, in a sentence with numbers.
        operator: the operator's name in the first file; empty for the whole file.
        op_type: what the file calls it.
        number: its place among ``operators``, from 1; 0 for the whole file.
        operators: how many there are.
        tensor: the tensor that is wrong first.
        channels: the output channels that are; empty for all, or for none in particular.
        evidence: what shows it, a sentence each.
        hint: the next command, or what else to do.
        stages: the stages that it explains.
    """

    kind: CauseKind
    what: str
    operator: str = ""
    op_type: str = ""
    number: int = 0
    operators: int = 0
    tensor: str = ""
    channels: tuple[int, ...] = ()
    evidence: tuple[str, ...] = ()
    hint: str = ""
    stages: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where it is, for people; empty for the whole file."""
        if not self.operator:
            return ""
        counted = f" (operator {self.number} of {self.operators})" if self.number else ""
        return f"{self.op_type} {self.operator!r}{counted}".strip()


@dataclass(frozen=True, slots=True)
class OperatorError:
    """How far an operator is from the reference.

    Attributes:
        tensor: the name of what it computes.
        operator: its name.
        op_type: what the file calls it.
        number: its place among the operators that compute, from 1, as of :class:`Cause`; 0 for a
            quantiser where integers begin or end.
        elements: integers compared.
        lsb: the local error, given equal inputs: difference in steps to number of values, as large
            as it is. Empty for a stage in float.
        max_lsb: the largest local error in steps; None for a stage in float.
        wrong: integers that differ by more than rounding can.
        channels: the channels in which they are; empty for all of them.
        sqnr_db: of the local error.
        accumulated_lsb: the largest difference from the stage it is judged by, inputs as they are.
        accumulated_db: the SQNR of that.
        clipped: of a stage in float, the share of the squared error of values beyond the grid.
    """

    tensor: str
    operator: str
    op_type: str
    number: int
    elements: int
    lsb: Mapping[int, int] = field(default_factory=dict)
    max_lsb: int | None = None
    wrong: int = 0
    channels: tuple[int, ...] = ()
    sqnr_db: float = float("inf")
    accumulated_lsb: int | None = None
    accumulated_db: float | None = None
    clipped: float = 0.0


@dataclass(frozen=True, slots=True)
class StageVerdict:
    """What is found of one stage.

    Attributes:
        artefact: the file's name.
        target: the target's name.
        against: the stage that it is judged by; empty for the first.
        state: in a word.
        verdict: in a sentence.
        accuracy: None where its answers have none.
        score: how well it does the task; None where that is top-1 accuracy.
        lost: samples that ``against`` answers right and it answers wrong; None without labels.
        gained: the other way round.
        changed: samples with another answer; None where answers cannot be compared.
        flipped: the ids of those, at most 100.
        causes: the places of its causes in :attr:`Why.causes`.
        operators: how far each operator is off, in the order of execution; empty where the target
            shows no tensors.
        growth: what a block costs of the accumulated SQNR; None where there is no error, or there
            are too few blocks.
        unjudged: the operators that compute and whose numbers could not be held against others'.
    """

    artefact: str
    target: str
    against: str
    state: State
    verdict: str
    accuracy: Accuracy | None = None
    score: Score | None = None
    lost: int | None = None
    gained: int | None = None
    changed: int | None = None
    flipped: tuple[int, ...] = ()
    causes: tuple[int, ...] = ()
    operators: tuple[OperatorError, ...] = ()
    growth: Growth | None = None
    unjudged: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``artefact @ target``."""
        return f"{self.artefact} @ {self.target}"


@dataclass(frozen=True, slots=True, repr=False)
class Why(Tabular):
    """Where the stages of a network part, and why.

    Attributes:
        data: the data set's name.
        samples: how many were used.
        stages: in the order of the chain.
        causes: each once, those of earlier operators first.
        remarks: what else a reader has to know, a sentence each.
        failures: stages that could not run.
    """

    data: str
    samples: int
    stages: tuple[StageVerdict, ...]
    causes: tuple[Cause, ...]
    remarks: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether no cause was found: every stage differs by rounding alone, if at all."""
        return not self.causes

    @property
    def whole(self) -> bool:
        """Whether every operator of every stage was judged."""
        return not any(stage.unjudged or stage.state == "unknown" for stage in self.stages)

    def table(self) -> Table:
        """How well each stage does the task, lost and gained samples, and its verdict."""
        score = next((stage.score for stage in self.stages if stage.score), None)
        return Table(
            f"{self.data}, {counted(self.samples, 'sample')}: "
            + (self.causes[0].what if self.causes else "no cause found"),
            ("stage", score.heading if score else "accuracy %", "lost/gained", "verdict"),
            [
                (
                    stage.name,
                    figure_of(stage.accuracy, stage.score),
                    lost_and_gained(stage),
                    stage.verdict,
                )
                for stage in self.stages
            ],
        )


def lost_and_gained(stage: StageVerdict) -> str:
    """Samples that a stage lost and gained; without labels, how many answers changed."""
    if stage.lost is not None:
        return f"{stage.lost:,}/{stage.gained:,}"
    return "" if stage.changed is None else f"{stage.changed:,} changed"
