"""Documents of commands that have no drawing of their own: their fields and records as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.report.blocks import facts, table
from edgeq.deploy.report.markup import NOTHING, Markup, element, join

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.deploy.report.documents import Document
    from edgeq.plain import Json

HIDDEN = {"schema", "edgeq_version", "machine", "next", "error", "command", "created"}
DEPTH = 3


def section(documents: Sequence[Document]) -> Markup:
    """Each document in full."""
    return join(
        join(
            [
                element("h3", document.titled(document.kind)),
                _fields(document.content, document.kind, 0),
            ]
        )
        for document in documents
    )


def _fields(content: Mapping[str, Json], title: str, depth: int) -> Markup:
    plain = {
        name: value
        for name, value in content.items()
        if name not in HIDDEN and not isinstance(value, dict | list)
    }
    nested = [
        (name, value)
        for name, value in content.items()
        if name not in HIDDEN and isinstance(value, dict | list) and value
    ]
    return join(
        [
            facts((_words(name), _shown(value)) for name, value in plain.items())
            if plain
            else NOTHING,
            *(_nested(name, value, title, depth + 1) for name, value in nested if depth < DEPTH),
        ]
    )


def _nested(name: str, value: Json, title: str, depth: int) -> Markup:
    heading = f"{title}: {_words(name)}"
    if isinstance(value, dict):
        return join([element("h4", _words(name)), _fields(value, heading, depth)])
    if not isinstance(value, list):
        return NOTHING
    rows = [item for item in value if isinstance(item, dict)]
    if not rows:
        return facts([(_words(name), ", ".join(_shown(item) for item in value[:100]))])
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return table(
        heading,
        [_words(column) for column in columns],
        [[_shown(row.get(column)) for column in columns] for row in rows],
    )


def _words(name: str) -> str:
    return name.replace("_", " ")


def _shown(value: Json) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(_shown(item) for item in value[:20])
    if isinstance(value, dict):
        return "; ".join(
            f"{_words(name)} {_shown(item)}" for name, item in list(value.items())[:12]
        )
    return value
