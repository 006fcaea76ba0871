"""Files through all rules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.errors import GateFailed, UnknownName, UsageError
from edgeq.formats.artefact import detect, resolve
from edgeq.linting import RULES, SEVERITIES, Finding, findings_in
from edgeq.tabular import Table, Tabular, counted

_NAMED = 5  # files of a folder that a hint names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeq.device import Device


@dataclass(frozen=True, slots=True, repr=False)
class LintReport(Tabular):
    """What the rules found in one file.

    Attributes:
        file: its path, as given.
        format: onnx or tflite.
        layers: how many operators with weights were looked at.
        findings: the worst first.
    """

    file: str
    format: str
    layers: int
    findings: tuple[Finding, ...]

    def table(self) -> Table:
        """Each finding with its place and hint."""
        return Table(
            f"{self.file}: {counted(len(self.findings), 'finding')} in "
            f"{counted(self.layers, 'layer')}",
            ("severity", "rule", "where", "what", "hint"),
            [
                (each.severity, each.rule, each.node, each.message, each.hint)
                for each in self.findings
            ],
        )


def lint(path: Path, *, device: Device | None = None) -> LintReport:
    """Look for what is wrong with a file; nothing is run.

    Args:
        path: an ONNX or TFLite file of any tool.
        device: what the file is for, for advice about it.

    Raises:
        ArtefactError: the file is missing or broken.
        UsageError: it is a checkpoint.
    """
    if path.is_dir() and not any(path.glob("*.safetensors")):
        held = sorted(each.name for each in path.iterdir() if each.suffix in (".onnx", ".tflite"))
        raise UsageError(
            f"{path} is a folder, and files are linted",
            hint=f"name them: {' '.join(str(path / name) for name in held[:_NAMED])}"
            if held
            else "it holds no .onnx and no .tflite file",
        )
    found = resolve(path)
    kind = detect(found)
    if kind == "checkpoint":
        raise UsageError(
            f"{path} is a checkpoint, which holds no grids of a runtime",
            hint="lint what edgeq export writes of it",
        )
    if kind == "onnx":
        from edgeq.linting.onnx_view import read
    else:
        from edgeq.linting.tflite_view import read
    model = replace(read(found), device=device)
    return LintReport(str(path), kind, len(model.with_weights), findings_in(model))


def require_known(fail_on: Sequence[str]) -> None:
    """Check what a file is to fail on.

    Raises:
        UnknownName: it is neither a severity nor a rule.
    """
    known = (*SEVERITIES, *RULES.names())
    for name in fail_on:
        if name not in known:
            raise UnknownName("severity or lint rule", name, known)


def require_clean(reports: Sequence[LintReport], fail_on: Sequence[str]) -> None:
    """Fail where a finding is one to fail on.

    Args:
        reports: of the files.
        fail_on: severities, each of which includes the worse ones, and names of rules.

    Raises:
        GateFailed: there is one.
    """
    worst = max((SEVERITIES.index(each) for each in SEVERITIES if each in fail_on), default=-1)
    bad = [
        finding
        for report in reports
        for finding in report.findings
        if finding.rule in fail_on or SEVERITIES.index(finding.severity) <= worst
    ]
    if bad:
        rules = ", ".join(dict.fromkeys(finding.rule for finding in bad))
        raise GateFailed(
            f"{counted(len(bad), 'finding')} of --fail-on {','.join(fail_on)}: {rules}",
            hint="repair the files as each finding says, or fail on less",
        )
