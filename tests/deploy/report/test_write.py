"""A report's file has the form its name says, and never replaces another unasked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from edgeq.deploy.report import render_html, render_json, write_report
from edgeq.errors import OutputError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.deploy.report import Report


def test_the_ending_chooses_the_form(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path / "run.json")
    write_report(report, tmp_path / "run.html")
    assert (tmp_path / "run.json").read_bytes() == render_json(report)
    assert (tmp_path / "run.html").read_text("utf-8") == render_html(report)


def test_an_unknown_ending_is_refused_with_the_hint(report: Report, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'\.pdf'[\s\S]*\.html or \.json"):
        write_report(report, tmp_path / "run.pdf")
    assert not list(tmp_path.iterdir())


def test_what_is_there_stays_unless_overwriting_is_asked_for(
    report: Report, tmp_path: Path
) -> None:
    path = tmp_path / "run.json"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        write_report(report, path)
    assert path.read_text() == "mine"
    write_report(report, path, overwrite=True)
    assert json.loads(path.read_bytes())["title"] == report.title
