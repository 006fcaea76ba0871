"""What gate, why, lint and bounds say, rule by rule, cause by cause and layer by layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeq.deploy.report.blocks import (
    command_line,
    figure,
    folded,
    light,
    listed,
    paragraph,
    several,
    table,
)
from edgeq.deploy.report.charts.plots import Series, lines_chart, swatch
from edgeq.deploy.report.documents import (
    mapping,
    number,
    of_kind,
    records,
    stage_name,
    text,
    texts,
    whole,
)
from edgeq.deploy.report.markup import NOTHING, Markup, element, join
from edgeq.deploy.report.sections.growth import rate
from edgeq.deploy.report.values import count, decibels, general
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.deploy.report.documents import Document
    from edgeq.plain import Json

STATES = {"pass": "good", "expected-failure": "good", "fail": "bad"}
SEVERITIES = {"error": "bad", "warning": "look"}


def gate(documents: Sequence[Document]) -> Markup:
    """Every rule on every stage; those that are kept are folded."""
    return join(_gate(document) for document in of_kind(documents, "gate"))


def _gate(document: Document) -> Markup:
    findings = records(document.main.get("findings"))
    kept = [each for each in findings if text(each.get("outcome")) == "pass"]
    others = [each for each in findings if text(each.get("outcome")) != "pass"]
    deltas = records(document.main.get("deltas"))
    return several(
        _rules(document.titled("rules that are not kept"), others) if others else NOTHING,
        folded(
            f"{counted(len(kept), 'rule')} kept",
            _rules(document.titled("rules that are kept"), kept),
        )
        if kept
        else NOTHING,
        folded(
            f"{counted(len(deltas), 'figure')} changed since the baseline",
            table(
                document.titled("changes since the baseline"),
                ("stage", "figure", "before", "now"),
                [
                    (
                        text(each.get("stage")),
                        text(each.get("metric")),
                        _figure(each, "before"),
                        _figure(each, "now"),
                    )
                    for each in deltas
                ],
                words=2,
            ),
        )
        if deltas
        else NOTHING,
    )


def _rules(title: str, findings: Sequence[Mapping[str, Json]]) -> Markup:
    return table(
        title,
        ("rule", "stage", "verdict", "what", "cause", "next", "baseline", "now", "limit"),
        [
            (
                _called(each),
                text(each.get("stage")) or "the run as a whole",
                light(STATES.get(text(each.get("outcome")), "look"), text(each.get("outcome"))),
                text(each.get("message"))
                + (f" ({text(each.get('reason'))})" if each.get("reason") else ""),
                _cause_alone(each),
                command_line(told) if (told := text(each.get("next_command"))) else "",
                _figure(each, "baseline"),
                _figure(each, "measured"),
                _figure(each, "limit"),
            )
            for each in findings
        ],
        words=6,
    )


def _called(finding: Mapping[str, Json]) -> str:
    """The rule; with the figure where several rules of the name tell theirs apart by it."""
    rule = text(finding.get("rule"))
    return f"{rule} of {text(finding.get('metric'))}" if rule.startswith("metric.") else rule


def _cause_alone(finding: Mapping[str, Json]) -> str:
    """The cause of a finding, without what its message says already."""
    _, _, said = text(finding.get("message")).partition(": ")
    cause = text(finding.get("cause"))
    return cause.removesuffix(f": {said}") if said else cause


def _figure(record: Mapping[str, Json], name: str) -> str:
    value = number(record.get(name))
    return "" if math.isnan(value) else f"{general(value)} {text(record.get('unit'))}".strip()


def why(documents: Sequence[Document]) -> Markup:
    """Each cause with its evidence, and the verdict on each stage."""
    return join(_why(document) for document in of_kind(documents, "why"))


def _why(document: Document) -> Markup:
    causes, stages = records(document.main.get("causes")), records(document.main.get("stages"))
    states = {"WRONG": "bad", "unknown": "look"}
    return several(
        *(_cause(cause) for cause in causes),
        table(
            document.titled("the verdict on each stage"),
            ("stage", "verdict", "judged by", "lost", "gained", "dB a block"),
            [
                (
                    stage_name(stage),
                    light(
                        states.get(text(stage.get("state")), "good"),
                        text(stage.get("verdict")) or "the reference",
                    ),
                    text(stage.get("against")),
                    count(whole(stage.get("lost"))) if stage.get("against") else "",
                    count(whole(stage.get("gained"))) if stage.get("against") else "",
                    rate(mapping(stage.get("growth"))),
                )
                for stage in stages
            ],
            words=3,
        ),
        *(_operators(stage) for stage in stages if text(stage.get("state")) == "WRONG"),
    )


def _cause(cause: Mapping[str, Json]) -> Markup:
    place = text(cause.get("operator"))
    where = f" in {text(cause.get('op_type'))} {place}" if place else ""
    return element(
        "div",
        element("h3", light("bad", text(cause.get("kind"))), where),
        paragraph(text(cause.get("what"))),
        listed(texts(cause.get("evidence"))),
        paragraph(element("b", "Next: "), text(cause.get("hint"))),
        class_="cause",
    )


def _operators(stage: Mapping[str, Json]) -> Markup:
    wrong = [each for each in records(stage.get("operators")) if whole(each.get("wrong"))]
    if not wrong:
        return NOTHING
    return folded(
        f"{stage_name(stage)}: {counted(len(wrong), 'operator')} wrong",
        table(
            f"Wrong operators of {stage_name(stage)}",
            ("operator", "tensor", "wrong", "local LSB", "accumulated LSB", "accumulated dB"),
            [
                (
                    f"{whole(each.get('number')) or ''} {text(each.get('op_type'))}".strip(),
                    text(each.get("tensor")),
                    f"{whole(each.get('wrong')):,} of {whole(each.get('elements')):,}",
                    count(whole(each.get("max_lsb"))),
                    count(whole(each.get("accumulated_lsb"))),
                    decibels(number(each.get("accumulated_db"))),
                )
                for each in wrong
            ],
            words=2,
        ),
        open_=True,
    )


def lint(documents: Sequence[Document]) -> Markup:
    """The findings of each file."""
    return join(
        _lint(report)
        for document in of_kind(documents, "lint")
        for report in records(document.main.get("files"))
    )


def _lint(report: Mapping[str, Json]) -> Markup:
    findings = records(report.get("findings"))
    if not findings:
        return paragraph(f"{text(report.get('file'))}: nothing found.")
    return table(
        f"{text(report.get('file'))}: {counted(len(findings), 'finding')}",
        ("rule", "severity", "where", "what", "what to do"),
        [
            (
                text(each.get("rule")),
                light(
                    SEVERITIES.get(text(each.get("severity")), "none"), text(each.get("severity"))
                ),
                text(each.get("node")),
                text(each.get("message")),
                text(each.get("hint")),
            )
            for each in findings
        ],
        words=5,
    )


def diff(documents: Sequence[Document]) -> Markup:
    """What two files hold otherwise."""
    return join(_diff(document) for document in of_kind(documents, "diff"))


def _diff(document: Document) -> Markup:
    found = document.main
    layers, grids = (whole(found.get(name)) or 0 for name in ("layers", "grids"))
    compared = f"{counted(layers, 'layer')} and {counted(grids, 'grid')} were compared"
    weights, given = (whole(found.get(name)) for name in ("weights", "activations"))
    if weights is not None and given is not None:
        compared = (
            f"one is the other quantised, {counted(weights, 'layer')} and "
            f"{counted(given, 'activation')}. {text(found.get('remark'))}"
        )
    about = f"{text(found.get('first'))} and {text(found.get('second'))}: {compared}"
    differences = records(found.get("differences"))
    rows = [[text(each.get(name)) for name in ("where", "kind", "detail")] for each in differences]
    return several(
        paragraph(about),
        table(document.titled("differences"), ("where", "what", "how"), rows, words=3)
        if rows
        else NOTHING,
    )


def bounds(documents: Sequence[Document]) -> Markup:
    """What is provable beside what was measured, and the accumulator of each layer."""
    return join(_bounds(document) for document in of_kind(documents, "bounds"))


def _bounds(document: Document) -> Markup:
    sums = records(document.main.get("sums"))
    return several(
        *(_certificate(each, document) for each in records(document.main.get("certificates"))),
        table(
            document.titled("the least accumulator in which no sum of a layer overflows"),
            ("layer", "type", "bits", "least sum", "largest sum", "channels", "dead"),
            [
                (
                    text(each.get("layer")),
                    text(each.get("op_type")),
                    count(whole(each.get("bits"))),
                    count(whole(each.get("smallest"))),
                    count(whole(each.get("largest"))),
                    count(whole(each.get("channels"))),
                    count(whole(each.get("dead"))),
                )
                for each in sums
            ],
            words=2,
        )
        if sums
        else NOTHING,
    )


def _certificate(certificate: Mapping[str, Json], document: Document) -> Markup:
    tensors = records(certificate.get("tensors"))
    names = [text(each.get("tensor")) for each in tensors]
    lines = [
        Series(name, [(float(n), number(each.get(key))) for n, each in enumerate(tensors)], place)
        for place, (key, name) in enumerate((("bound", "bound"), ("measured", "measured")))
    ]
    drawn = [line for line in lines if any(y > 0 for _, y in line.points)]
    reference = text(certificate.get("reference"))
    behind = table(
        document.titled(f"distance of each tensor from {reference}, in LSB"),
        ("tensor", "type", "bound", "measured", "bound, l2", "measured, l2"),
        [
            (
                text(each.get("tensor")),
                text(each.get("op_type")),
                *(
                    general(number(each.get(key)))
                    for key in ("bound", "measured", "norm_bound", "norm_measured")
                ),
            )
            for each in tensors
        ],
        words=2,
    )
    if not drawn:
        return behind
    return figure(
        document.titled(f"how far each tensor can be from {reference}, and is"),
        lambda width: lines_chart(
            width, drawn, x_title="layer, from the input on", y_title="LSB", log=True, x_names=names
        ),
        behind,
        words=f"Bound at the last tensor: {general(number(tensors[-1].get('bound')))} LSB; "
        f"measured: {general(number(tensors[-1].get('measured')))} LSB.",
        key=[swatch(line.number, line.name) for line in drawn],
        readout=True,
    )
