"""Fragments of the changelog have a kind and a form that ``make release`` can gather."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHANGES = ROOT / "release" / "changes"


def test_a_fragment_has_a_kind_and_the_form_of_a_sentence() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["towncrier"]
    kinds = "|".join(settings["fragment"])
    assert set(re.findall(r"`(\w+)` \|", (CHANGES / "README.md").read_text("utf-8"))) == {
        *settings["fragment"]
    }
    wrong = []
    for path in CHANGES.iterdir():
        if path.name == "README.md":
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        if not re.fullmatch(rf"[a-z0-9-]+\.(?:{kinds})\.md", path.name):
            wrong.append(f"{path.name}: <words>.<kind>.md, of the kinds {kinds}")
        if not lines or not all(0 < len(line) <= 98 for line in lines):
            wrong.append(f"{path.name}: one paragraph, lines of at most 98 columns")
        elif lines[0][0] in "#-* " or not lines[-1].endswith("."):
            wrong.append(f"{path.name}: whole sentences, no heading and no bullet")
    assert wrong == []


def test_the_changelog_has_the_place_where_releases_are_written() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert text.count("\n<!-- releases -->\n\n## [") == 1
