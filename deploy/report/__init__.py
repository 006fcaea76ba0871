"""The report of a run.

The same records as a page to read, a document for programs and a table for the terminal.
"""

from __future__ import annotations

from edgeq.deploy.report.as_json import render_json
from edgeq.deploy.report.content import LayerCurve, ModelRow, Report
from edgeq.deploy.report.page import render_html
from edgeq.deploy.report.text import render_text
from edgeq.deploy.report.write import write_report

__all__ = [
    "LayerCurve",
    "ModelRow",
    "Report",
    "render_html",
    "render_json",
    "render_text",
    "write_report",
]
