"""The words of a finding that all formats share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.errors import printable

if TYPE_CHECKING:
    from edgeq.deploy.gate.result import Finding, GateResult

_LONGEST = 2_000  # characters of a text of a finding
# what XML 1.0 has no place for, and halves of characters, which no encoding has a place for
_UNWRITABLE = re.compile("[\ud800-\udfff\ufffe\uffff]")


def plain(text: str) -> str:
    """A text of bounded length that every format can hold, without characters that act."""
    cut = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return _UNWRITABLE.sub("\ufffd", printable(cut.replace("\r", "\n")))


def line(text: str) -> str:
    """The same in one line."""
    return " ".join(plain(text).split())


def paragraphs(finding: Finding) -> list[str]:
    """What is the matter, why, whether it was expected, and what to do next."""
    parts = [
        message(finding),
        f"cause: {finding.cause}" if finding.cause else "",
        f"expected: {finding.reason}" if finding.reason else "",
        f"{finding.samples_needed:,} samples would decide it" if finding.samples_needed else "",
        f"next: {finding.next_command}" if finding.next_command else "",
    ]
    return [line(part) for part in parts if part]


def sentences(finding: Finding) -> str:
    """The same in one line."""
    return " ".join(f"{part.rstrip('.')}." for part in paragraphs(finding))


def message(finding: Finding) -> str:
    """What is the matter, without the stage, which every format tells in a place of its own."""
    return line(finding.message.removeprefix(f"{finding.stage}: "))


def title(finding: Finding) -> str:
    """The rule and the stage, in a line."""
    return line(f"{finding.called} of {finding.stage}" if finding.stage else finding.called)


def place(result: GateResult, finding: Finding) -> tuple[str, int]:
    """The file and the line, from 1, that a service shows a finding at.

    The rule in the file of rules; without one, the artefact.
    """
    if result.config:
        return _relative(result.config), max(finding.line, 1)
    return _relative(finding.stage.partition(" @ ")[0] or "edgeq-gate.toml"), 1


def _relative(name: str) -> str:
    """A path as services want it, from the folder that we are in where it lies below."""
    path = Path(line(name))
    return (path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path).as_posix()


def figure(value: float | None, unit: str = "") -> str:
    """A figure with its unit; a dash where there is none."""
    return "–" if value is None else f"{value:.6g} {unit}".rstrip()
