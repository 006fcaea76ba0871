"""What may be wrong with a model file, told from the file alone: no data, no runtime.

One rule a file, by entry point in ``edgeq.lint_rules``. A rule sees a file as :class:`LintModel`,
which is the same for ONNX and TFLite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from edgeq.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.linting.model import LintModel

Severity = Literal["error", "warning", "note"]
"""How bad a finding is.

``error``: integers that mean something else than they should. ``warning``: a loss that is certain.
``note``: worth a look, as the file alone cannot tell whether it was meant.
"""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""The worst first."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What a rule found at one place.

    Attributes:
        node: the operator or tensor; empty for the whole file.
        message: what is wrong, in one sentence.
        hint: how to fix it.
        number: how much it is.
        unit: what the number counts: LSB, channels, bits.
        channels: the output channels that it is about; empty for all.
        severity: where it is another than the rule's own.
    """

    node: str
    message: str
    hint: str
    number: float | None = None
    unit: str = ""
    channels: tuple[int, ...] = ()
    severity: Severity | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem with the rule that found it; see :class:`Problem`."""

    rule: str
    severity: Severity
    node: str
    channels: tuple[int, ...]
    number: float | None
    unit: str
    message: str
    hint: str


class LintRule(Protocol):
    """Looks for one kind of problem. The class's docstring is its page in the documentation.

    Attributes:
        severity: of what it finds.
        summary: what it finds, in a few words.
    """

    severity: ClassVar[Severity]
    summary: ClassVar[str]

    def check(self, model: LintModel) -> Iterator[Problem]:
        """The problems of a file, in its own order."""
        ...


RULES: Registry[type[LintRule]] = Registry("lint rule")
"""The rules by name; a name is also the rule's id in JSON and SARIF."""


def findings_in(model: LintModel) -> tuple[Finding, ...]:
    """What all rules find in a file, the worst first."""
    found = []
    for name in RULES.names():
        rule = RULES.load(name)()
        for problem in rule.check(model):
            severity = problem.severity or rule.severity
            found.append(
                Finding(
                    name,
                    severity,
                    problem.node,
                    problem.channels,
                    problem.number,
                    problem.unit,
                    problem.message,
                    problem.hint,
                )
            )
    return tuple(sorted(found, key=lambda each: SEVERITIES.index(each.severity)))
