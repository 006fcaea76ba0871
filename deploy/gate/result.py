"""What a gate comes to: a finding for each rule on each stage, and one outcome over all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from edgeq.errors import EdgeqError, GateFailed, Inconclusive, TargetError
from edgeq.tabular import Table, Tabular, counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.machine import Machine

FindingOutcome = Literal["pass", "fail", "inconclusive", "expected-failure", "not-run"]
"""What one rule says of one stage."""
GateOutcome = Literal["passed", "failed", "inconclusive", "updated"]
"""What all findings come to; ``updated`` where the run was written as the baseline."""
_SHOWN = 3  # complaints that an error names
_PLACES = 9  # behind the point, beyond which a figure is what a division left over


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says of one stage.

    Attributes:
        rule: its name in the file, such as ``accuracy`` or ``drift.max_lsb_per_operator``.
        stage: ``artefact @ target``; the artefact's name alone where the rule is about a file;
            empty for the run as a whole.
        metric: what was measured, for people.
        outcome: ``not-run`` where nothing could be measured, which never passes.
        message: what is the matter in plain words, with the numbers.
        measured: the figure; None where there is none.
        limit: the last figure that the rule lets pass.
        interval: the ends of the 95 % interval of ``measured``; None where none is known.
        baseline: the figure in the baseline.
        unit: of all the figures: ``%``, ``points``, ``LSB``, ``dB``, ``bytes``, ``x``; empty for a
            count or a fraction.
        cause: why it failed, as ``edgeq why`` and ``edgeq diff`` tell it.
        next_command: what to run or to do next; empty where nothing is to be done.
        samples: the ids of the samples that it is about, at most 100.
        samples_needed: how many samples would decide it; None where more would not.
        reason: why the failure is expected; empty where it is not.
        target_missing: whether nothing was measured because the target does not work here.
        line: where the rule stands in the file, from 1; 0 where it stands in none.
    """

    rule: str
    stage: str
    metric: str
    outcome: FindingOutcome
    message: str
    measured: float | None = None
    limit: float | None = None
    interval: tuple[float, float] | None = None
    baseline: float | None = None
    unit: str = ""
    cause: str = ""
    next_command: str = ""
    samples: tuple[int, ...] = ()
    samples_needed: int | None = None
    reason: str = ""
    target_missing: bool = False
    line: int = 0

    @property
    def called(self) -> str:
        """Its rule, with the figure where several rules of the name tell theirs apart by it."""
        named = self.rule.startswith("metric.") and self.metric not in ("", "metric")
        return f"{self.rule} of {_once(self.metric)}" if named else self.rule

    @property
    def passes(self) -> bool:
        """Whether the gate may pass with it."""
        return self.outcome in ("pass", "expected-failure")


@dataclass(frozen=True, slots=True)
class StageValues:
    """All figures of one stage of the run.

    Attributes:
        stage: ``artefact @ target``.
        samples: how many it answered; 0 where it was not run.
        values: the figure of each metric; a share is a fraction.
        ran: whether it was run.
        why_not: why it was not; empty where it was.
    """

    stage: str
    samples: int
    values: Mapping[str, float] = field(default_factory=dict)
    ran: bool = True
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """How a figure of a stage changed since the baseline.

    Attributes:
        stage: ``artefact @ target``; a file's name where it is about what is in the file.
        metric: the name of the figure, as in :attr:`StageValues.values`.
        before: in the baseline; None where the stage or the figure is new.
        now: in this run; None where it is gone.
        share: whether it is a fraction that people read in per cent.
    """

    stage: str
    metric: str
    before: float | None
    now: float | None
    share: bool = False

    @property
    def change(self) -> float | None:
        """How much it grew; None where one of the two is not known."""
        return None if self.before is None or self.now is None else self.now - self.before

    def told(self, value: float) -> str:
        """One of its figures, for people."""
        return f"{100 * value:.2f} %" if self.share else f"{value:.6g}"


@dataclass(frozen=True, slots=True, repr=False)
class GateResult(Tabular):
    """What a gate says of a run.

    Attributes:
        outcome: of all findings.
        findings: in the order of the rules, and of the stages in each.
        stages: the figures of this run.
        deltas: what is different from the baseline.
        machine: that this run was on; None where nothing was run.
        versions: of the runtimes, by package.
        baseline: where it was read or written: a file, or a file of a git revision.
        config: the path of the file of rules; empty where they came as flags or arguments.
        remarks: what a reader has to know, a sentence each.
    """

    outcome: GateOutcome
    findings: tuple[Finding, ...]
    stages: tuple[StageValues, ...] = ()
    deltas: tuple[Delta, ...] = ()
    machine: Machine | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    baseline: str = ""
    config: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it may go on."""
        return self.outcome in ("passed", "updated")

    @property
    def complaints(self) -> tuple[Finding, ...]:
        """The findings that keep it from passing, failures first."""
        order = ("fail", "not-run", "inconclusive")
        against = [each for each in self.findings if not each.passes]
        return tuple(sorted(against, key=lambda each: order.index(each.outcome)))

    @property
    def regressed_metrics(self) -> tuple[str, ...]:
        """The metrics of the findings that failed, each once."""
        failed = [each.metric for each in self.findings if each.outcome == "fail"]
        return tuple(dict.fromkeys(failed))

    @property
    def summary(self) -> str:
        """The outcome in a sentence."""
        counts = {
            word: sum(each.outcome == outcome for each in self.findings)
            for outcome, word in (
                ("pass", "passed"),
                ("fail", "failed"),
                ("inconclusive", "inconclusive"),
                ("not-run", "not run"),
                ("expected-failure", "expected to fail"),
            )
        }
        told = ", ".join(f"{number:,} {word}" for word, number in counts.items() if number)
        return f"{self.outcome}: {told or 'no rule was judged'}"

    def require_passed(self) -> None:
        """Return where it passed.

        Raises:
            GateFailed: a rule failed; names the first few.
            TargetError: none did, but a target does not work here.
            Inconclusive: none did, but something could not be decided or was not run.
        """
        if not self.passed:
            raise _error_of(self.complaints)

    def table(self) -> Table:
        """The verdict of each rule on each stage."""
        return Table(
            self.summary,
            ("rule", "stage", "verdict", "baseline", "now", "limit", "what"),
            [
                (
                    each.called,
                    each.stage,
                    each.outcome,
                    _figure(each.baseline, each.unit),
                    _figure(each.measured, each.unit),
                    _figure(each.limit, each.unit),
                    each.message,
                )
                for each in self.findings
            ],
        )


def _once(key: str) -> str:
    """The key of a figure, ``figure (task, option)``, without a task of the same name."""
    figure, _, rest = key.removesuffix(")").partition(" (")
    task, _, options = rest.partition(", ")
    if task.rpartition(":")[2].casefold() != figure.casefold():
        return key
    return (task if ":" in task else figure) + (f" ({options})" if options else "")


def outcome_of(findings: Sequence[Finding]) -> GateOutcome:
    """What findings come to: one failure fails; without any, one that is open leaves it open.

    No finding at all is no pass: nothing was judged.
    """
    if any(each.outcome == "fail" for each in findings):
        return "failed"
    return "passed" if findings and all(each.passes for each in findings) else "inconclusive"


def _error_of(complaints: Sequence[Finding]) -> EdgeqError:
    if not complaints:
        return Inconclusive(
            "the gate judged nothing", hint="name stages and rules in edgeq-gate.toml"
        )
    first = complaints[0]
    same = [each for each in complaints if each.outcome == first.outcome]
    what = "; ".join(each.message for each in same[:_SHOWN])
    if len(same) > _SHOWN:
        what += f"; and {counted(len(same) - _SHOWN, 'more finding')}"
    hint = next((each.next_command for each in same if each.next_command), "see the findings above")
    if first.outcome == "fail":
        return GateFailed(what, hint=hint)
    missing = any(each.target_missing for each in same)
    return (TargetError if missing else Inconclusive)(what, hint=hint)


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit == "bytes":
        return f"{value / 1000:,.1f} kB"
    if unit == "x":
        return f"{value:.3f} x"
    return f"{value:.2f} %" if unit == "%" else f"{round(value, _PLACES) + 0.0:.6g} {unit}".rstrip()
