"""Writes docs/reference/gate-rules.md, and the schema of a file of rules, from what the gate reads.

Run it with ``make docs``; a test compares both with what this module renders.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.deploy.gate.rules import Setting

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "gate-rules.md"
SCHEMA = ROOT / "deploy" / "schemas" / "edgeq-gate.schema.json"
HEAD = """# edgeq-gate.toml

Written by `make docs` from what `edgeq gate` reads; edit that, not this page. [The
guide](../guide/gate-in-ci.md) shows how to use it. A JSON Schema for editors comes with edgeq:
`edgeq/deploy/schemas/edgeq-gate.schema.json`.

## Keys

`artefacts`, `data` and `rules` are needed; in brackets is what holds where a key is left out.

"""
RULES_HEAD = """
## Rules

Each is a line under `[rules]`, such as `accuracy = { max_drop = 0.5 }`. Several rules of one name
stand in a list, `metric = [{ ... }, { ... }]`. Each also takes `stages`, patterns of the stages
that it is about.

"""
STATISTICS_HEAD = """
## [statistics]

"""
EXPECT_HEAD = """
## [[expect]]

`rule`, `reason` and `until` are needed.

"""
FIGURES = """
## Which figures `metric` judges

Every figure of a task: that of the run by `name`, that of another one by `task`, which may be
`module:function` of your own, with a meter of your own or of torchmetrics. `edgeq compare --json`
has the names. Each is computed again on the same resamples of the samples in both runs, where each
sample stands once or oftener, and the rule judges the change:

- `max_drop`: it fails where the whole interval of the change is above it, passes where the change
  is not above it, and is inconclusive in between;
- `equivalent_within`: it passes where the whole interval is within it. Of a figure in points it
  also takes so many samples that a share as large as the margin could not stay unseen: 360 samples
  show 0.83 points and no less;
- `min`: it fails where the whole interval of the figure is below it; of an error, above it;
- `worst_class_max_drop`, `worst_slice_max_drop`: it fails where one class, or the samples with one
  value of a column, is shown to fall by more; all of them share the level. At most 50 of them, of
  at least 5 samples, are judged; of detectors, segmentation and several numbers a sample, the
  classes that the figure has.

Where about three samples or fewer carry a change, or the figure is far from a sum over so few
samples, as ROC-AUC of 50 is, the message says why no interval is told. The verdict takes wider ends
there, so that it is rather inconclusive than wrong.

A figure that is no share has its limits in per cent of the baseline's. A figure that no samples are
drawn for has a rule of its own, and is refused by name: """


def table(settings: Mapping[str, Setting], head: str) -> str:
    """A table of keys."""
    from edgeq.deploy.gate.rules import KINDS

    rows = "".join(
        f"| `{name}` | {KINDS[each.kind]} | {each.help} |\n" for name, each in settings.items()
    )
    return f"| {head} | is | says |\n|---|---|---|\n{rows}"


def render() -> str:
    """The whole page."""
    from edgeq.deploy.gate.rules import EXPECTED, KEYS, LIMITS, RULES, STATISTICS

    rules = []
    for name, kind in RULES.items():
        short = ""
        summary = f"{kind.summary[0].upper()}{kind.summary[1:]}."
        if kind.short is not None:
            value = str(kind.short[0]).lower() if kind.short[0] is True else f'"{kind.short[0]}"'
            short = f" `{name} = {value}` is short for the strictest one."
        told = textwrap.fill(summary + short, 98, break_on_hyphens=False)
        rules.append(f"### {name}\n\n{told}\n\n")
        rules.append(table(kind.settings, "setting") + "\n")
    others = ", ".join(f"`{name}` (`{rule}`)" for name, rule in LIMITS.items())
    last = textwrap.fill(FIGURES.rpartition("\n\n")[2] + others + ".", 98)
    return "".join(
        [
            *(HEAD, table(KEYS, "key"), RULES_HEAD, *rules),
            *(FIGURES.rpartition("\n\n")[0].removeprefix("\n"), f"\n\n{last}\n"),
            *(STATISTICS_HEAD, table(STATISTICS, "key"), EXPECT_HEAD, table(EXPECTED, "key")),
        ]
    )


def schema() -> str:
    """A JSON Schema of the file."""
    from edgeq.deploy.gate.rules import EXPECTED, KEYS, RULES, STAGES, STATISTICS

    rules: dict[str, Any] = {}
    for name, kind in RULES.items():
        one = closed({**kind.settings, "stages": STAGES}) | {"minProperties": 1}
        forms: list[Any] = [one, {"type": "array", "items": one, "minItems": 1}]
        if kind.short is not None:
            forms.append({"const": kind.short[0]})
        rules[name] = {"description": kind.summary, "anyOf": forms}
    whole = closed(KEYS)
    whole["properties"] |= {
        "statistics": closed(STATISTICS),
        "rules": {
            "type": "object",
            "properties": rules,
            "additionalProperties": False,
            "minProperties": 1,
        },
        "expect": {
            "type": "array",
            "items": closed(EXPECTED) | {"required": ["rule", "reason", "until"]},
        },
    }
    content = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:edgeq:edgeq-gate:1",
        "title": "A file of rules of edgeq gate, edgeq-gate.toml",
        **whole,
        "required": ["artefacts", "data", "rules"],
    }
    return json.dumps(content, indent=1) + "\n"


def closed(settings: Mapping[str, Setting]) -> dict[str, Any]:
    """A table with these keys and no others."""
    forms: dict[str, dict[str, Any]] = {
        "number": {"type": "number", "minimum": 0},
        "share": {"type": "number", "minimum": 0, "maximum": 1},
        "count": {"type": "integer", "minimum": 0},
        "samples": {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": "^first:[0-9]+$"},
            ]
        },
        "flag": {"type": "boolean"},
        "text": {"type": "string", "minLength": 1},
        "words": {"type": "array", "items": {"type": "string"}},
        "table": {"type": "object"},
        "date": {"type": "string", "format": "date"},
        "preprocessing": {"type": ["string", "object"]},
        "tables": {"type": "array"},
    }
    return {
        "type": "object",
        "properties": {
            name: {"description": each.help, **forms[each.kind]} for name, each in settings.items()
        },
        "additionalProperties": False,
    }


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    SCHEMA.write_text(schema(), encoding="utf-8")
