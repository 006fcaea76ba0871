"""Where the numbers come from: machine, versions, and the commands that repeat them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeq.deploy.report.blocks import facts, table
from edgeq.deploy.report.documents import mapping, number, text, texts, whole
from edgeq.deploy.report.markup import NOTHING, Markup, element, join
from edgeq.deploy.report.values import MISSING, moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeq.deploy.report.documents import Document
    from edgeq.plain import Json


def section(documents: Sequence[Document]) -> Markup:
    """Each machine once, and each document with its command."""
    machines: list[dict[str, Json]] = []
    for document in documents:
        machine = mapping(document.main.get("machine")) or mapping(document.content.get("machine"))
        told = {name: value for name, value in machine.items() if name != "load_average"}
        if machine and all(
            told != {k: v for k, v in m.items() if k != "load_average"} for m in machines
        ):
            machines.append(machine)
    commands = dict.fromkeys(document.command for document in documents if document.command)
    return join(
        [
            *(facts(_facts(machine)) for machine in machines),
            table(
                "What this page is made of",
                ("document", "command", "made", "edgeq"),
                [
                    (
                        document.label or "this page",
                        document.kind,
                        moment(document.created) or MISSING,
                        text(document.content.get("edgeq_version")),
                    )
                    for document in documents
                ],
                words=4,
            ),
            element("h3", "To repeat") if commands else NOTHING,
            *(element("pre", element("code", command), tabindex=0) for command in commands),
        ]
    )


def _facts(machine: dict[str, Json]) -> Iterator[tuple[str, str]]:
    yield "processor", f"{text(machine.get('cpu'))}, {text(machine.get('architecture'))}"
    yield "cores usable", f"{whole(machine.get('cores')) or MISSING}"
    yield "instructions", ", ".join(texts(machine.get("isa"))) or MISSING
    yield "frequency governor", text(machine.get("governor")) or MISSING
    waiting = number(machine.get("load_average"))
    yield "load average", MISSING if math.isnan(waiting) else f"{waiting:.2f} processes"
    yield "operating system", text(machine.get("kernel"))
    yield "Python", text(machine.get("python"))
    for name, version in mapping(machine.get("runtimes")).items():
        yield name, text(version)
