"""A gate as Markdown: the summary of a job, and the comment on a change.

Names of files and tensors are anybody's. Every character of theirs that Markdown or HTML could read
is written as an entity, so that they stay text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import edgeq
from edgeq.deploy.gate.ci.told import figure, line, message

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeq.deploy.gate.result import Delta, Finding, GateResult

MARK = "<!-- edgeq-gate -->"
"""By which the comment of an earlier run is found, to be replaced."""
MOST_BYTES = 60_000  # a comment may have 65,536 characters, a summary 1 MiB
_SIGNS = {"passed": "✅", "updated": "✅", "failed": "❌", "inconclusive": "⚠️"}
_VERDICTS = {
    "pass": "✅ pass",
    "fail": "❌ fail",
    "inconclusive": "⚠️ inconclusive",
    "not-run": "⚠️ not run",
    "expected-failure": "☑️ expected failure",
}
# a colon acts in addresses and in names of emoji, and not before a blank
_ACTING = re.compile(r"[^\w .,:;()%+=-]|_|:(?! |$)|(?<![\w.])w(?=ww\.)", re.ASCII)
_MENTION = re.compile(r"@(?=\w)")


def markdown(result: GateResult, limit: int = MOST_BYTES) -> str:
    """The summary: the outcome, what is wrong and what to do, then everything else folded.

    Args:
        result: of the gate.
        limit: the most bytes of UTF-8; rows that do not fit are counted and left out.
    """
    head = [
        MARK,
        f"## {_SIGNS[result.outcome]} edgeq gate: {text(result.summary)}",
        *(text(remark) for remark in result.remarks),
    ]
    budget = _Budget(limit - 2_000)
    parts = [
        *(part for part in head if budget.takes(part)),
        *_complaints(result.complaints, budget),
        *_folded("What changed since the baseline", _DELTA, map(_delta, result.deltas), budget),
        *_folded("All findings", _FINDING, map(_finding, result.findings), budget),
        _foot(result),
    ]
    return "\n\n".join(parts) + "\n"


def text(told: str) -> str:
    """Something that may hold a foreign name, as text that nothing acts on."""
    # a mention is looked for after entities are read, and not across this character
    apart = _MENTION.sub("@\u200b", line(told))
    return _ACTING.sub(lambda found: "".join(f"&#{ord(one)};" for one in found.group()), apart)


class _Budget:
    """How many bytes are left.

    Args:
        left: at the beginning.
    """

    def __init__(self, left: int) -> None:
        self._left = left

    def takes(self, part: str) -> bool:
        """Take the bytes of a part where they are left; whether they were."""
        size = len(part.encode()) + 2
        if size > self._left:
            return False
        self._left -= size
        return True


_FINDING = ("rule", "stage", "verdict", "baseline", "now", "limit", "what")
_DELTA = ("stage", "figure", "baseline", "now", "change")


def _complaints(complaints: Sequence[Finding], budget: _Budget) -> Iterable[str]:
    left_out = 0
    for each in complaints:
        lines = [
            f"**{_VERDICTS[each.outcome]}: {text(each.called)}**"
            + (f" of {text(each.stage)}" if each.stage else ""),
            text(message(each)),
            f"Cause: {text(each.cause)}" if each.cause else "",
            f"Next: <code>{text(each.next_command)}</code>" if each.next_command else "",
        ]
        part = "<br>\n".join(part for part in lines if part)
        if budget.takes(part):
            yield part
        else:
            left_out += 1
    if left_out:
        yield f"{left_out:,} more did not fit; the JSON document has all."


def _folded(
    heading: str, columns: Sequence[str], rows: Iterable[Sequence[str]], budget: _Budget
) -> Iterable[str]:
    cells = list(rows)
    if not cells:
        return
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    shown = 0
    for row in cells:
        told = f"| {' | '.join(row)} |"
        if not budget.takes(told):
            break
        lines.append(told)
        shown += 1
    if shown < len(cells):
        heading += f" (the first {shown:,} of {len(cells):,}; the JSON document has all)"
    table = "\n".join(lines)
    yield f"<details><summary>{heading}</summary>\n\n{table}\n\n</details>"


def _finding(each: Finding) -> tuple[str, ...]:
    figures = [text(figure(value, each.unit)) for value in (each.baseline, each.measured)]
    limit = text(figure(each.limit, each.unit))
    what = text(message(each) if each.outcome != "expected-failure" else each.reason)
    return text(each.called), text(each.stage), _VERDICTS[each.outcome], *figures, limit, what


def _delta(each: Delta) -> tuple[str, ...]:
    grown = each.change
    sign = "+" if grown is not None and grown >= 0 else ""
    change = "–" if grown is None else f"{sign}{each.told(grown)}"
    figures = [
        text("–" if value is None else each.told(value)) for value in (each.before, each.now)
    ]
    return text(each.stage), text(each.metric), *figures, text(change)


def _foot(result: GateResult) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    told = [
        f"edgeq {edgeq.__version__}",
        f"baseline {result.baseline}" if result.baseline else "",
        f"rules of {result.config}" if result.config else "",
        result.machine.cpu if result.machine is not None else "",
        versions,
    ]
    return f"<sub>{text('; '.join(part for part in told if part)[:1_000])}</sub>"
