"""What a rule is judged on, and how a finding is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeq.brief import brief
from edgeq.deploy.evaluation.outputs.scoring import TOP1, figure_key
from edgeq.deploy.gate.result import Finding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.deploy.gate.baseline import Baseline, Entry
    from edgeq.deploy.gate.config import GateConfig, Rule
    from edgeq.deploy.gate.measuring import Measured
    from edgeq.deploy.gate.result import FindingOutcome
    from edgeq.results import Stage

MOST_IDS = 100
ROUNDING = 1e-9
"""A change of exactly what is allowed passes, whatever the last bit of a division says."""
OUTCOMES: Mapping[bool | None, FindingOutcome] = {
    True: "fail",
    False: "pass",
    None: "inconclusive",
}
"""By whether something is worse."""
WRITE_AGAIN = "write the baseline again with edgeq gate --update"


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """One run beside its baseline.

    Attributes:
        config: what is asked.
        measured: the run.
        baseline: what it is compared with.
    """

    config: GateConfig
    measured: Measured
    baseline: Baseline

    __repr__ = brief

    @property
    def metric(self) -> str:
        """What stages are judged by, for people."""
        return "accuracy" if self.measured.observed.measure == TOP1 else self.baseline.metric

    def stages(self, rule: Rule) -> list[Stage]:
        """The stages of the run that a rule is about."""
        stages = self.measured.observed.comparison.stages
        return [stage for stage in stages if rule.covers(stage.name)]

    def pairs(self, rule: Rule) -> list[tuple[Stage, Entry]]:
        """Those that the baseline has too."""
        known = self.baseline.stages
        return [(each, known[each.name]) for each in self.stages(rule) if each.name in known]

    def files(self, rule: Rule) -> list[str]:
        """The names of the files of those stages, each once."""
        return list(dict.fromkeys(stage.artefact for stage in self.stages(rule)))

    def key(self, rule: Rule, stage: Stage) -> str:
        """See :func:`key_of`."""
        return key_of(rule, self.measured, stage)

    def float_stage(self) -> Stage | None:
        """The stage that the gap is counted from; None where it was not run."""
        stages = self.measured.observed.comparison.stages
        name = self.config.float_stage or self.measured.observed.comparison.reference
        return next((stage for stage in stages if stage.name == name), None)


def key_of(rule: Rule, measured: Measured, stage: Stage) -> str:
    """The key of the figure that a rule names.

    Of a task without a name of a figure, that of its first one.
    """
    name, task = rule.text("name"), rule.task.label
    if name or not task:
        return figure_key(name, task)
    figures = measured.observed.figures.get(stage.name, {})
    return next((key for key in figures if key.endswith(f" ({task})")), figure_key("", task))


def finding(
    rule: Rule, setting: str, stage: str, outcome: FindingOutcome, message: str, **more: Any
) -> Finding:
    """A finding of a setting of a rule; further fields by name."""
    fields = {"metric": rule.name, "limit": rule.number(setting), **more}
    if outcome == "inconclusive" and more.get("samples_needed"):
        judged = f"judge about {more['samples_needed']:,} samples"
        fields.setdefault("next_command", f"{judged}, and write the baseline of them too")
    return Finding(
        f"{rule.name}.{setting}",
        stage,
        outcome=outcome,
        message=f"{stage}: {message}" if stage else message,
        line=rule.line,
        **fields,
    )


def not_run(
    rule: Rule, stage: str, message: str, next_command: str, *, metric: str = ""
) -> Finding:
    """The finding of a rule that a stage gave nothing to judge by, under its first limit."""
    limits = [name for name, value in rule.settings.items() if not isinstance(value, str | tuple)]
    setting = next(iter(limits or rule.settings))
    named = {"metric": metric} if metric else {}
    return finding(rule, setting, stage, "not-run", message, next_command=next_command, **named)


def within(value: float, limit: float) -> bool:
    """Whether a figure is at most a limit."""
    return value <= limit + ROUNDING * max(1.0, abs(limit))
