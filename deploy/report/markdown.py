"""The verdict as Markdown: for a comment, a wiki, or a log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgeq.deploy.report.blocks import SIGNS, WORDS
from edgeq.deploy.report.findings import judge
from edgeq.deploy.report.sections.history import subjects_of
from edgeq.deploy.report.verdict import FIRST_STEPS, ORDER
from edgeq.errors import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.deploy.report.documents import Document
    from edgeq.deploy.report.verdict import Step

_ACTING = "\\`*_{}[]<>()#+!|~&"


def render(documents: Sequence[Document], title: str) -> str:
    """The first screen of the page: the verdict, a light for each stage, and what to do next.

    Args:
        documents: what it is about.
        title: the heading.
    """
    verdict = judge([runs[-1] for runs in subjects_of(documents)])
    lines = [f"# {plain(title)}", "", f"**{_light(verdict.state)}: {plain(verdict.headline)}**", ""]
    lines += [f"- {plain(sentence)}" for sentence in verdict.sentences]
    if verdict.lights:
        lines += ["", "| verdict | stage | why |", "|---|---|---|"]
        for stage in sorted(verdict.lights, key=lambda name: ORDER.index(verdict.worst(name))):
            words = "; ".join(light.words for light in verdict.lights[stage])
            lines.append(f"| {_light(verdict.worst(stage))} | {plain(stage)} | {plain(words)} |")
    if verdict.expected:
        lines += ["", f"Expected: {plain('; '.join(verdict.expected))}"]
    if verdict.steps:
        first = verdict.steps[:FIRST_STEPS]
        lines += ["", "## Do next", ""]
        lines += [f"{n}. {_step(step)}" for n, step in enumerate(first, start=1)]
    return "\n".join(lines) + "\n"


def _step(step: Step) -> str:
    command = code(step.command) if step.command else ""
    return ": ".join(filter(None, (plain(step.what), command)))


def code(text: str) -> str:
    """Text as it is to be typed, on one line: nothing in it is read as Markdown."""
    told = printable(" ".join(text.split()))
    fence = "`" * (1 + max(map(len, re.findall("`+", told)), default=0))
    edge = " " if "`" in told else ""
    return f"{fence}{edge}{told}{edge}{fence}"


def _light(state: str) -> str:
    return f"{SIGNS[state]} {WORDS[state]}"


def plain(text: str) -> str:
    """Text in which nothing is read as Markdown, on one line."""
    told = printable(" ".join(text.split()))
    return "".join(f"\\{each}" if each in _ACTING else each for each in told)
