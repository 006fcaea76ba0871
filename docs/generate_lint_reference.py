"""Writes docs/reference/lint.md from the rules themselves, so that it cannot be untrue.

Run it with ``make docs``; a test compares the page with what this module renders.
"""

from __future__ import annotations

from inspect import getdoc
from pathlib import Path

PAGE = Path(__file__).parent / "reference" / "lint.md"
HEAD = """# Lint rules

Written by `make docs` from the rules of `edgeq lint`; edit those, not this page.

An *error* means integers that stand for other numbers than they should, a *warning* a loss that is
certain, a *note* is worth a look. [The guide](../guide/lint-a-file.md) shows how to use them.

| rule | severity | finds |
|---|---|---|
"""
DEVICES = """
## Devices

What `--device` knows of each device stands on [a page of its own](devices.md).
"""


def render() -> str:
    """The whole page."""
    from edgeq.linting import RULES

    rules = {name: RULES.load(name) for name in RULES.names()}
    rows = [
        f"| [{name}](#{name}) | {rule.severity} | {rule.summary} |\n"
        for name, rule in rules.items()
    ]
    pages = [f"\n## {name}\n\n{getdoc(rule)}\n" for name, rule in rules.items()]
    return HEAD + "".join([*rows, *pages, DEVICES])


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
