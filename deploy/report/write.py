"""Reports on disk, whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.report.as_json import render_json
from edgeq.deploy.report.page import render_html
from edgeq.errors import UsageError
from edgeq.files import check_output, write_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.deploy.report.content import Report


def write_report(report: Report, path: Path, *, overwrite: bool = False) -> None:
    """Write a report in the form that the file's name asks for: ``.html`` or ``.json``.

    Raises:
        UsageError: the name ends in something else.
        OutputError: the file exists and ``overwrite`` is false, or it cannot be written.
    """
    check_output(path, overwrite=overwrite)
    write_bytes(path, _content(report, path), overwrite=overwrite)


def _content(report: Report, path: Path) -> bytes:
    suffix = path.suffix.lower()
    if suffix == ".json":
        return render_json(report)
    if suffix in {".html", ".htm"}:
        return render_html(report).encode()
    raise UsageError(
        f"no report can be written as {suffix or 'a file without an ending'!r}",
        hint="end the name in .html or .json",
    )
