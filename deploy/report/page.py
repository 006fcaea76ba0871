"""The page of results: one file that needs no network and little else.

Two locks keep foreign names from doing anything: every value is escaped where it is written, and a
content security policy lets the browser run only the script written here, by its hash, and load
nothing at all.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, TypeVar

from edgeq.deploy.report.blocks import command_line, folded, light, listed
from edgeq.deploy.report.findings import judge
from edgeq.deploy.report.markup import NOTHING, Markup, element, join
from edgeq.deploy.report.sections import (
    accuracy,
    drift,
    flips,
    generic,
    growth,
    headline,
    history,
    judgements,
    latency,
    machine,
    network,
    tradeoff,
)
from edgeq.deploy.report.sections.making import files, layers, training, trials
from edgeq.deploy.report.values import moment
from edgeq.deploy.report.verdict import FIRST_STEPS, ORDER
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.deploy.report.documents import Document
    from edgeq.deploy.report.verdict import Step, Verdict

FIRST_LIGHTS = 5
"""Stages that are seen without opening anything."""
FIRST_SENTENCES = 2
_Item = TypeVar("_Item")
TITLES = {
    "bad": "Something is wrong",
    "look": "Worth a look",
    "good": "All good",
    "none": "Figures",
}
DRAWN = {
    *("compare", "survey", "profile", "gate", "why", "lint", "bounds", "diff", "demo"),
    *("calibrate", "export", "train", "check", "search", "sweep"),
}


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page.

    Attributes:
        key: its id.
        title: its heading, and its name in the list of contents.
        body: what is in it; empty for a part that is left out.
    """

    key: str
    title: str
    body: Markup


def render(documents: Sequence[Document], title: str) -> str:
    """The page.

    Args:
        documents: what it shows. Of several about the same files, the newest is shown in full and
            the others in its history.
        title: the heading.
    """
    subjects = history.subjects_of(documents)
    newest = [runs[-1] for runs in subjects]
    verdict = judge(newest)
    found = [section for section in _sections(newest, subjects, documents, verdict) if section.body]
    script = _asset("page.js")
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(_asset("style.css"))),
    )
    body = element(
        "body",
        element("a", "Skip to the results", href="#main", class_="skip"),
        _first_screen(title, newest, verdict),
        _contents(found),
        element("main", *(_section(section) for section in found), id="main", tabindex="-1"),
        element("footer", "Made by edgeq. This file is complete: it loads nothing from anywhere."),
        element("script", Markup(script)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _sections(
    newest: Sequence[Document],
    subjects: Sequence[Sequence[Document]],
    documents: Sequence[Document],
    verdict: Verdict,
) -> list[Section]:
    others = [document for document in newest if document.kind not in DRAWN]
    return [
        Section("gate", "Gate", judgements.gate(newest)),
        Section("why", "Causes", judgements.why(newest)),
        Section("diff", "Differences", judgements.diff(newest)),
        Section("networks", "Networks", headline.section(newest)),
        Section("trained", "Training", training.section(newest)),
        Section("trials", "Trials", trials.section(newest)),
        Section("files", "Files", files.section(newest)),
        Section("accuracy", "Accuracy by target", accuracy.section(newest, verdict)),
        Section("history", "Run by run", history.section(subjects)),
        Section("layers", "Layers", layers.section(newest)),
        Section("drift", "Drift along depth", drift.section(newest)),
        Section("growth", "Growth with depth", growth.section(newest)),
        Section("network", "The network", network.section(newest)),
        Section("flipped", "Changed answers", flips.section(newest)),
        Section("tradeoff", "What it costs", tradeoff.section(newest)),
        Section("latency", "Latency", latency.section(newest)),
        Section("bounds", "Bounds beside measurement", judgements.bounds(newest)),
        Section("lint", "Lint", judgements.lint(newest)),
        Section("more", "More", generic.section(others) if others else NOTHING),
        Section(
            "repeat",
            "Machine and command",
            machine.section([document for document in documents if not document.inside]),
        ),
    ]


def _section(section: Section) -> Markup:
    heading = element("h2", section.title, id=f"{section.key}-title")
    return element(
        "section", heading, section.body, id=section.key, aria_labelledby=f"{section.key}-title"
    )


def _contents(sections: Sequence[Section]) -> Markup:
    links = [element("a", section.title, href=f"#{section.key}") for section in sections]
    return element("nav", listed(links), aria_label="Contents")


def _first_screen(title: str, documents: Sequence[Document], verdict: Verdict) -> Markup:
    first, rest = _parted(verdict.sentences, FIRST_SENTENCES)
    made = moment(max((document.created for document in documents), default=""))
    return element(
        "header",
        element("p", f"{title} · made {made}" if made else title, class_="facts"),
        element(
            "div",
            light(verdict.state, TITLES[verdict.state]),
            element("h1", verdict.headline),
            listed(first, class_="found") if first else NOTHING,
            folded(f"{counted(len(rest), 'more sentence')}", listed(rest)) if rest else NOTHING,
            class_=f"verdict {verdict.state}",
        ),
        element("div", _lights(verdict), _steps(verdict), class_="first"),
        folded(f"{counted(len(verdict.expected), 'failure')} expected", listed(verdict.expected))
        if verdict.expected
        else NOTHING,
    )


def _parted(items: Sequence[_Item], first: int) -> tuple[Sequence[_Item], Sequence[_Item]]:
    """The first of some items, and those to fold; one alone is not worth it."""
    shown = len(items) if len(items) <= first + 1 else first
    return items[:shown], items[shown:]


def _lights(verdict: Verdict) -> Markup:
    if not verdict.lights:
        return NOTHING
    stages = sorted(verdict.lights, key=lambda stage: ORDER.index(verdict.worst(stage)))
    first, rest = _parted(stages, FIRST_LIGHTS)
    noun = "stage" if any(" @ " in stage for stage in stages) else "finding"
    counts = {state: sum(verdict.worst(stage) == state for stage in rest) for state in ORDER}
    told = ", ".join(f"{n} {_STATE_WORDS[state]}" for state, n in counts.items() if n)
    return element(
        "section",
        element("h2", f"{noun.capitalize()}s"),
        listed((_stage(stage, verdict) for stage in first), class_="lights"),
        folded(
            f"{counted(len(rest), f'more {noun}')}: {told}",
            listed((_stage(stage, verdict) for stage in rest), class_="lights"),
        )
        if rest
        else NOTHING,
    )


_STATE_WORDS = {"bad": "wrong", "look": "worth a look", "none": "not judged", "good": "good"}


def _stage(stage: str, verdict: Verdict) -> Markup:
    said = verdict.lights[stage]
    worst = verdict.worst(stage)
    words = "; ".join([each.words for each in said if each.state == worst][:2])
    return join([light(worst), element("span", element("b", stage), ": ", words)])


def _steps(verdict: Verdict) -> Markup:
    if not verdict.steps:
        return NOTHING
    first, rest = _parted(verdict.steps, FIRST_STEPS)
    return element(
        "section",
        element("h2", "Do next"),
        element("ol", *(element("li", _step(step)) for step in first), class_="steps"),
        folded(f"{counted(len(rest), 'more step')}", listed(map(_step, rest))) if rest else NOTHING,
    )


def _step(step: Step) -> Markup:
    command = command_line(step.command) if step.command else NOTHING
    return join([step.what, command], ": " if step.what and command else "")


def _asset(name: str) -> str:
    return resources.files("edgeq.deploy.report").joinpath(name).read_text("utf-8")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
