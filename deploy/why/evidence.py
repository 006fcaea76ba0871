"""What the detectors of causes look at."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.brief import brief
from edgeq.deploy.why.records import Cause
from edgeq.errors import EdgeqError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeq.deploy.evaluation.chain import Pair
    from edgeq.deploy.why.measure import OperatorMeter, StageMeter, WrongSamples
    from edgeq.deploy.why.records import CauseKind
    from edgeq.diffing.records import Difference
    from edgeq.diffing.replay import Operator
    from edgeq.plan import Plan
    from edgeq.results import PairSaturation
    from edgeq.target import Capabilities, Target
    from edgeq.targets.emulator.program import OverflowStats


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """An operator as people are told of it.

    Attributes:
        operator: what computes.
        title: its name in the file.
        number: its place among the operators that compute, from 1.
        count: how many of those there are.
    """

    operator: Operator
    title: str
    number: int
    count: int

    __repr__ = brief


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """One stage that is not exact, and all that is known of it.

    Attributes:
        pair: the stage.
        against: what it is judged by.
        capabilities: those of its target.
        places: the operators, by the name of what they compute, by their own and by their layer's.
        meter: its errors.
        differences: between its file and the first one, in the order of the graph.
        layers: how many layers both files have.
        reference_exact: whether a reference computes the same file exactly.
        saturation: the layers whose pairs of products saturate there; None where none does.
        plan: what the target makes of the file; None where it does not tell.
        overflows: what happened to the sums of operators, where the target counts them.
        remedy: what to do about other numbers in the file.
        unmeasured: whether the stage gives other numbers, and its operators cannot be judged by any
            of theirs: then the file alone tells why.
    """

    pair: Pair
    against: Pair
    capabilities: Capabilities
    places: Mapping[str, Place]
    meter: StageMeter
    differences: tuple[Difference, ...] = ()
    layers: int = 0
    reference_exact: bool = False
    saturation: PairSaturation | None = None
    plan: Plan | None = None
    overflows: Mapping[str, OverflowStats] | None = None
    remedy: str = ""
    unmeasured: bool = False

    __repr__ = brief

    @property
    def first(self) -> Place | None:
        """The first operator that is wrong given equal inputs."""
        first = self.meter.first
        return None if first is None else self.places[first.tensor]

    @property
    def suspects(self) -> list[Place]:
        """The first wrong operator, after those before it that the recording does not show."""
        if self.first is None:
            return []
        found, todo = {}, [self.first]
        while todo:
            place = todo.pop()
            found[place.operator.tensor] = place
            todo += [
                self.places[name]
                for name in place.operator.inputs
                if name in self.places and name not in self.meter.meters and name not in found
            ]
        return sorted(found.values(), key=lambda place: place.operator.number)

    @property
    def kept(self) -> WrongSamples | None:
        """A few samples on which it is."""
        return self.meter.kept

    @property
    def worst(self) -> OperatorMeter | None:
        """Its errors."""
        first = self.meter.first
        return None if first is None else self.meter.meters[first.tensor]

    def cause(
        self,
        kind: CauseKind,
        what: str,
        hint: str,
        *,
        place: Place | None = None,
        channels: tuple[int, ...] = (),
        evidence: tuple[str, ...] = (),
    ) -> Cause:
        """A cause at an operator; at the first wrong one where no other is named."""
        where = place or self.first
        told = (*evidence, *([self.counted()] if self.first is not None else []))
        if where is None:
            return Cause(kind, what, channels=channels, evidence=told, hint=hint)
        return Cause(
            kind,
            what,
            where.title,
            where.operator.op_type,
            where.number,
            where.count,
            where.operator.tensor,
            channels,
            told,
            hint,
        )

    def counted(self) -> str:
        """How many integers are wrong where the first are, in a sentence."""
        first, meter = self.first, self.worst
        if first is None or meter is None:
            return ""
        return (
            f"given equal inputs, {meter.wrong:,} of {meter.elements:,} numbers of "
            f"{first.operator.tensor!r} are off by more than rounding, by up to {meter.max_lsb:,} "
            "LSB"
        )


def plan_of(target: Target, artefact: Path, threads: int) -> Plan | None:
    """What a target makes of a file; None where it does not tell."""
    from edgeq.plan import Planner

    if not isinstance(target, Planner):
        return None
    with suppress(EdgeqError):
        return target.plan(artefact, threads=threads)
    return None
