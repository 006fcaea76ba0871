"""What each stage comes to, in a word and a sentence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.deploy.why.floats import of_float, output_db
from edgeq.deploy.why.records import StageVerdict
from edgeq.metrics.accuracy import mcnemar
from edgeq.metrics.growth import FEWEST, growth
from edgeq.qdq.nodes import MOVES
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.deploy.evaluation.chain import Pair
    from edgeq.deploy.evaluation.compare import Observed
    from edgeq.deploy.why.evidence import Place
    from edgeq.deploy.why.measure import StageMeter
    from edgeq.deploy.why.records import Cause, OperatorError, State
    from edgeq.deploy.why.stages import Judged
    from edgeq.results import Growth, Stage

_MOVING = frozenset((*(name.lower() for name in MOVES), "cast", "concat", "concatenation"))
SIGNIFICANT = 0.05
"""Of McNemar's test: a loss less likely than that by chance is one."""
_MOST_FLIPPED = 100
_NAMED = 6


def verdict_of(
    stage: Judged,
    observed: Observed,
    names: Mapping[Pair, str],
    meter: StageMeter | None,
    answers: Answers,
    causes: tuple[int, ...],
    known: Sequence[Cause],
    places: Mapping[str, Place],
    measured: StageMeter | None = None,
) -> StageVerdict:
    """What is found of one stage.

    Args:
        stage: which, and what it is judged by.
        observed: the answers of all.
        names: what to call each.
        meter: its errors; None where its tensors cannot be seen.
        answers: how they changed from the stage that it is judged by.
        causes: the places of its causes among those known.
        known: those of all stages.
        places: the operators as people are told of them, by tensor.
        measured: the errors that operators are judged by where they are not its own: those of its
            integers, given the numbers of the float stage; None for its own.
    """
    name = names[stage.pair]
    shown: Stage = next(each for each in observed.comparison.stages if each.name == name)
    against = "" if stage.against is None else names[stage.against]
    operators = () if meter is None else _numbered(meter.results(), places)
    distance = output_db(observed.comparison, name, against)
    state, told = _judge(stage, answers, operators, [known[i] for i in causes], distance)
    count, unjudged = _unjudged(stage, meter if measured is None else measured, places)
    if unjudged:
        told += f"; {count - len(unjudged)} of {counted(count, 'operator')} judged by numbers"
    return StageVerdict(
        shown.artefact,
        shown.target,
        against,
        state,
        told,
        shown.accuracy,
        shown.score,
        answers.lost,
        answers.gained,
        answers.changed,
        answers.flipped,
        causes,
        operators,
        _growth(operators),
        unjudged,
    )


def _unjudged(
    stage: Judged, meter: StageMeter | None, places: Mapping[str, Place]
) -> tuple[int, tuple[str, ...]]:
    """How many operators compute, and those of them of which no number was compared.

    Those that only move numbers are left out: what reads them tells.
    """
    computing = {
        place.operator.tensor: f"{place.operator.op_type} {place.title!r}"
        for place in sorted(places.values(), key=lambda each: each.number)
        if place.number and place.operator.op_type.replace("_", "").lower() not in _MOVING
    }
    if stage.against is None or not stage.quantized:
        return len(computing), ()
    found = {} if meter is None else meter.meters
    waiting = [tensor for tensor, each in found.items() if each.elements]
    known = set(waiting)
    while waiting:  # what a recording does not show is judged with what reads it
        place = places.get(waiting.pop())
        read = () if place is None else place.operator.inputs
        more = {places[name].operator.tensor for name in read if name in places} - known
        waiting += more
        known |= more
    return len(computing), tuple(
        title for tensor, title in computing.items() if tensor not in known
    )


def unjudged_in(verdict: StageVerdict) -> str:
    """Which operators no number tells of, in a sentence; empty for none."""
    if not verdict.unjudged or verdict.causes:
        return ""
    some, rest = verdict.unjudged[:_NAMED], len(verdict.unjudged) - _NAMED
    told = ", ".join(some) + (f" and {rest} others" if rest > 0 else "")
    why = (
        f"the float file has no tensor known to be theirs: edgeq compare {verdict.artefact} shows "
        "the drift"
        if verdict.state == "quantisation"
        else f"{verdict.target} does not show their results"
        if any(each.elements for each in verdict.operators)
        else ""
    )
    return (
        f"not judged by numbers in {verdict.name}: {told}"
        + (f", since {why}" if why else "")
        + "; a fault in one of them shows only in what the file says of it, and in the answers"
    )


def _numbered(
    operators: Sequence[OperatorError], places: Mapping[str, Place]
) -> tuple[OperatorError, ...]:
    """Operators numbered as causes number them, so that one has one number."""
    return tuple(replace(each, number=places[each.tensor].number) for each in operators)


def _growth(operators: Sequence[OperatorError]) -> Growth | None:
    """Over residual blocks, whose ends are additions; over all operators where there are few."""
    known = [each for each in operators if each.accumulated_db is not None]
    blocks = [each for each in known if each.op_type.upper() == "ADD"]
    if len(blocks) < FEWEST:
        blocks = known
    return growth([each.accumulated_db for each in blocks if each.accumulated_db is not None])


@dataclass(frozen=True, slots=True)
class Answers:
    """How answers changed from one stage to another.

    Attributes:
        lost: samples that were right and are wrong; None without labels.
        gained: the other way round.
        changed: samples with another answer; None where answers cannot be compared.
        flipped: the ids of those, at most 100.
    """

    lost: int | None = None
    gained: int | None = None
    changed: int | None = None
    flipped: tuple[int, ...] = ()

    @property
    def are_lost(self) -> bool:
        """Whether more are lost than chance explains."""
        return (
            self.lost is not None
            and self.gained is not None
            and self.lost > self.gained
            and mcnemar(self.lost, self.gained) < SIGNIFICANT
        )


def answers_of(observed: Observed, name: str, against: str, ids: NDArray[np.int64]) -> Answers:
    """How the answers of one stage differ from those of another.

    Args:
        observed: the answers of all.
        name: of the stage.
        against: of the other one.
        ids: of the samples.
    """
    mine, theirs = observed.answers.get(name), observed.answers.get(against)
    if mine is None or theirs is None:
        shown = next(each for each in observed.comparison.stages if each.name == name)
        known = against == observed.comparison.reference
        return Answers(None, None, shown.changed, shown.flipped) if known else Answers()
    differs = mine != theirs
    flipped = tuple(int(each) for each in ids[differs][:_MOST_FLIPPED])
    if observed.labels is None:
        return Answers(None, None, int(differs.sum()), flipped)
    right, before = mine == observed.labels, theirs == observed.labels
    return Answers(
        int((before & ~right).sum()), int((right & ~before).sum()), int(differs.sum()), flipped
    )


def differ(observed: Observed, name: str, against: str) -> bool:
    """Whether two stages give other numbers for some sample."""
    mine, theirs = observed.outputs.get(name), observed.outputs.get(against)
    return mine is not None and theirs is not None and not np.array_equal(mine, theirs)


def _judge(
    stage: Judged,
    answers: Answers,
    operators: Sequence[OperatorError],
    causes: Sequence[Cause],
    distance_db: float | None,
) -> tuple[State, str]:
    if stage.against is None:
        return "reference", "reference" if stage.quantized else ""
    if causes:
        return "WRONG", f"WRONG: {causes[0].kind}"
    if not stage.quantized:
        return of_float(distance_db)
    if stage.from_float:
        within = ", within its interval" if answers.lost is not None else ""
        return "quantisation", f"quantisation{within}"
    if not any(each.elements for each in operators):
        return "unknown", "its operators cannot be judged"
    most = max((each.max_lsb or 0 for each in operators), default=0)
    if most == 0:
        same = not any(each.accumulated_lsb for each in operators)
        return "exact", f"exact: every {'integer' if same else 'operator, given equal inputs'}"
    return "exact", f"exact: at most {most} LSB an operator"
