"""Judges a run against a committed baseline, on the same samples.

Passed, failed, or not to be decided.

The rule is plain, so that a person can check it by hand: a stage fails when its accuracy, or the
score of its task, has dropped by more points than allowed; an error, such as MAE, when it has grown
by more per cent of itself. For accuracies the exact paired test (McNemar) is printed beside each
verdict and says how likely so uneven a change is by chance; it does not excuse a drop, because the
samples are pinned and the computation repeats to the bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgeq.deploy.evaluation.baseline import Baseline, require_measured
from edgeq.deploy.guessing import like_guessing
from edgeq.errors import EdgeqError, GateFailed, Inconclusive, TargetError
from edgeq.metrics.accuracy import mcnemar
from edgeq.results import require_all
from edgeq.tabular import Table, Tabular, share
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeq.deploy.evaluation.baseline import Entry
    from edgeq.deploy.evaluation.compare import Observed
    from edgeq.results import Failure, Score, Stage

_LOOK = "look for the cause with edgeq compare; if the change is wanted, accept it with --update"
GateState = Literal["passed", "failed", "new", "missing", "unavailable"]
# points: a drop of exactly what is allowed passes, whatever the last bit of a division says
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class StageVerdict:
    """What the gate says of one stage.

    Attributes:
        stage: its name, ``artefact @ target``.
        state: ``new`` is not in the baseline; ``missing`` is only there; ``unavailable`` because
            its target failed or does not work here.
        baseline: accuracy then, a fraction, or the score; None for a new stage.
        now: accuracy now, a fraction, or the score; None for a stage that was not run.
        drop_points: how much accuracy or score fell, in percentage points; of an error, how much it
            grew, in per cent of itself. Negative when it is better.
        gap_points: how far it is now below the reference stage, likewise.
        lost: samples that were right and are wrong now.
        gained: samples that were wrong and are right now.
        p_value: of the exact paired test.
        size_bytes: of the artefact now.
        size_change: its growth, a fraction of the baseline's.
        why: what went wrong where the stage was to run and could not; what is known to make its
            answers wrong where it was judged.
        hint: what to do about it.
        percent: whether ``baseline`` and ``now`` are fractions.
    """

    stage: str
    state: GateState
    baseline: float | None = None
    now: float | None = None
    drop_points: float | None = None
    gap_points: float | None = None
    lost: int = 0
    gained: int = 0
    p_value: float | None = None
    size_bytes: int | None = None
    size_change: float | None = None
    why: str = ""
    hint: str = ""
    percent: bool = True

    def figure(self, value: float | None) -> str:
        """An accuracy or score as a table has it."""
        return share(value) if self.percent or value is None else f"{value:.4g}"


@dataclass(frozen=True, slots=True, repr=False)
class GateReport(Tabular):
    """What the gate says of a run.

    Attributes:
        outcome: ``inconclusive`` where the run and the baseline cannot be compared as a whole;
            ``updated`` where the run is the baseline now.
        max_drop_points: how many percentage points of accuracy a stage may lose.
        verdicts: of each stage; none where the two are about different things.
        why: why it is not passed; empty where it is.
        hint: what to do then.
    """

    outcome: Literal["passed", "failed", "inconclusive", "updated"]
    max_drop_points: float
    verdicts: tuple[StageVerdict, ...]
    why: str = ""
    hint: str = ""

    @property
    def passed(self) -> bool:
        """Whether it may go on."""
        return self.outcome in ("passed", "updated")

    def require_passed(self) -> None:
        """Return where it passed.

        Raises:
            GateFailed: it failed.
            Inconclusive: it cannot be told.
        """
        if not self.passed:
            kind = GateFailed if self.outcome == "failed" else Inconclusive
            raise kind(self.why, hint=self.hint)

    def table(self) -> Table:
        """The verdict on each stage."""
        unit = " %" if all(each.percent for each in self.verdicts) else ""
        return Table(
            f"{self.outcome}: at most {self.max_drop_points:g} points may be lost"
            + (f"; {self.why}" if self.why else ""),
            ("stage", "verdict", f"baseline{unit}", f"now{unit}", "lost", "gained", "p"),
            [
                (
                    each.stage,
                    each.state,
                    each.figure(each.baseline),
                    each.figure(each.now),
                    f"{each.lost:,}",
                    f"{each.gained:,}",
                    "" if each.p_value is None else f"{each.p_value:.3g}",
                )
                for each in self.verdicts
            ],
        )


def accept(
    observed: Observed, path: Path, classes: int, *, accept_guessing: bool = False
) -> Baseline:
    """Write a run as the baseline, or replace it.

    Args:
        observed: the run.
        path: the file.
        classes: how many the data have.
        accept_guessing: whether an accuracy that guessing reaches too is accepted.

    Raises:
        TargetError: a stage failed.
        Inconclusive: guessing reaches an accuracy too.
        OutputError: the file cannot be written.
    """
    require_all(observed.comparison.failures)
    like = [
        f"{stage.name}: {what}"
        for stage in observed.comparison.stages
        if stage.accuracy is not None and (what := like_guessing(stage.accuracy, classes))
    ]
    if like and not accept_guessing:
        raise Inconclusive(
            f"no baseline is written: {'; '.join(like)}",
            hint="see the remarks above; to accept it as it is, add --accept-guessing",
        )
    made = Baseline.of(observed)
    made.write(path)
    return made


def report_on(observed: Observed, baseline: Baseline, max_drop: float) -> GateReport:
    """What :func:`judge` and :func:`conclude` come to, as a record.

    Raises:
        UsageError: see :func:`judge`.
    """
    verdicts: tuple[StageVerdict, ...] = ()
    try:
        verdicts = judge(observed, baseline, max_drop)
        conclude(verdicts, max_drop)
    except (GateFailed, TargetError) as error:
        return GateReport("failed", max_drop, verdicts, error.what, error.hint)
    except Inconclusive as error:
        return GateReport("inconclusive", max_drop, verdicts, error.what, error.hint)
    return GateReport("passed", max_drop, verdicts)


def judge(observed: Observed, baseline: Baseline, max_drop: float) -> tuple[StageVerdict, ...]:
    """One verdict for each stage that was run or is in the baseline.

    Args:
        observed: the run.
        baseline: what to compare with.
        max_drop: how many percentage points of accuracy a stage may lose.

    Raises:
        Inconclusive: the run and the baseline are not about the same samples, fed alike, and the
            same measure.
        UsageError: a stage has neither an accuracy nor a score.
    """
    require_measured(observed)
    _check_measured(observed, baseline)
    stages = observed.comparison.stages
    reference = _value(observed, stages[0])
    run = [
        _judge_stage(observed, stage, baseline.stages.get(stage.name), reference, max_drop)
        for stage in stages
    ]
    known = {stage.name for stage in stages}
    failed = {failure.name: failure for failure in observed.comparison.failures}
    lost = [_lost(failure, baseline.stages.get(name)) for name, failure in failed.items()]
    absent = [
        _absent(name, entry)
        for name, entry in baseline.stages.items()
        if name not in known and name not in failed
    ]
    return (*run, *lost, *absent)


def conclude(verdicts: Sequence[StageVerdict], max_drop: float) -> None:
    """Return when everything passed.

    Raises:
        GateFailed: a stage dropped too far; names each.
        TargetError: none did, but a target failed, or one of the baseline is not usable here.
        Inconclusive: none did, but a stage is new or was not run.
    """
    by_state = {
        state: [verdict for verdict in verdicts if verdict.state == state]
        for state in ("failed", "unavailable", "missing", "new")
    }
    if by_state["failed"]:
        raise GateFailed(
            "; ".join(_complaint(verdict, max_drop) for verdict in by_state["failed"]),
            hint=next((verdict.hint for verdict in by_state["failed"] if verdict.hint), _LOOK),
        )
    kinds: tuple[tuple[GateState, type[EdgeqError], str], ...] = (
        ("unavailable", TargetError, "cannot run here"),
        ("missing", Inconclusive, "is in the baseline and was not run"),
        ("new", Inconclusive, "is not in the baseline"),
    )
    for state, error, what in kinds:
        if by_state[state]:
            raise error(
                "; ".join(
                    f"{verdict.stage} {what}{f': {verdict.why}' if verdict.why else ''}"
                    for verdict in by_state[state]
                ),
                hint=by_state[state][0].hint,
            )


def _check_measured(observed: Observed, baseline: Baseline) -> None:
    if baseline.metric != observed.measure:
        raise Inconclusive(
            f"the baseline holds {baseline.metric}, and this run measures {observed.measure}",
            hint="accept the new measure with --update",
        )
    if (found := observed.data.differs(baseline.data)) is not None:
        what, hint = found
        raise Inconclusive(what, hint=f"{hint}, or accept what is new with --update")


def _judge_stage(
    observed: Observed, stage: Stage, then: Entry | None, reference: float, max_drop: float
) -> StageVerdict:
    now = _value(observed, stage)
    gap, percent = drop_between(reference, now, stage.score), _is_share(stage)
    if then is None:
        return StageVerdict(
            stage.name,
            "new",
            now=now,
            gap_points=gap,
            size_bytes=stage.size_bytes,
            hint="accept it with --update",
            percent=percent,
        )
    drop, lost, gained = drop_between(then.value, now, stage.score), 0, 0
    if then.correct is not None:
        correct = observed.correct(stage)
        lost, gained = int((then.correct & ~correct).sum()), int((~then.correct & correct).sum())
        drop = 100 * (lost - gained) / len(correct)
    known = next(
        (found for found in observed.comparison.saturating if found.name == stage.name), None
    )
    return StageVerdict(
        stage.name,
        "failed" if drop > max_drop + _ROUNDING else "passed",
        baseline=then.value,
        now=now,
        drop_points=drop,
        gap_points=gap,
        lost=lost,
        gained=gained,
        p_value=None if then.correct is None else mcnemar(lost, gained),
        size_bytes=stage.size_bytes,
        size_change=stage.size_bytes / then.size_bytes - 1 if then.size_bytes else None,
        why=known.what if known else "",
        hint=known.hint if known else "",
        percent=percent,
    )


def drop_between(then: float, now: float, score: Score | None) -> float:
    """How much worse a figure is now: percentage points, or per cent of an error."""
    if score is None or score.percent:
        better = 1 if score is None or score.higher_is_better else -1
        return 100 * better * (then - now)
    if then == now:
        return 0.0
    change = 100 * (now - then) / abs(then) if then else math.inf
    return -change if score.higher_is_better else change


def _is_share(stage: Stage) -> bool:
    return stage.score is None or stage.score.percent


def _value(observed: Observed, stage: Stage) -> float:
    if stage.score is not None:
        return stage.score.value
    return float(observed.correct(stage).mean())


def _lost(failure: Failure, then: Entry | None) -> StageVerdict:
    return StageVerdict(
        failure.name,
        "unavailable",
        baseline=then.value if then else None,
        why=failure.what,
        hint=failure.hint,
    )


def _absent(name: str, then: Entry) -> StageVerdict:
    target = name.rpartition(" @ ")[2]
    try:
        state = TARGETS.load(target).probe()
    except EdgeqError as error:
        return StageVerdict(name, "unavailable", baseline=then.value, hint=error.hint)
    if not state.usable:
        return StageVerdict(name, "unavailable", baseline=then.value, hint=state.hint)
    return StageVerdict(
        name,
        "missing",
        baseline=then.value,
        hint="name its artefact and its target too, or forget it with --update",
    )


def _complaint(verdict: StageVerdict, max_drop: float) -> str:
    if verdict.p_value is None:
        return (
            f"{verdict.stage} is worse by {verdict.drop_points:.2f}, {max_drop:g} are allowed: "
            f"{verdict.baseline:.4g} in the baseline, {verdict.now:.4g} now"
            + (f"; {verdict.why}" if verdict.why else "")
        )
    return (
        f"{verdict.stage} lost {verdict.drop_points:.2f} points of accuracy, {max_drop:g} "
        "are allowed: "
        f"{100 * (verdict.baseline or 0):.2f} % in the baseline, "
        f"{100 * (verdict.now or 0):.2f} % now "
        f"({verdict.lost} samples lost, {verdict.gained} gained, p = {verdict.p_value:.2g})"
        + (f"; {verdict.why}" if verdict.why else "")
    )
