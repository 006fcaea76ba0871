"""Results as a page, as Markdown or as figures: of one command, or of many runs."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from edgeq.deploy.report.documents import DRAWINGS, document_of, parts
from edgeq.deploy.runs.figures import figures_of
from edgeq.errors import UsageError
from edgeq.files import check_output, write_text
from edgeq.machine import fingerprint
from edgeq.plain import record
from edgeq.tabular import csv_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from edgeq.deploy.report.documents import Document
    from edgeq.plain import Json

FORMATS = (".html", ".htm", ".md", ".csv")


def check_page(path: Path, *, overwrite: bool = True) -> None:
    """Refuse early, before long work, what no page can be written to.

    Raises:
        UsageError: the name ends in something else than a page does.
        OutputError: it cannot be written, or is there and must not be replaced.
    """
    if path.suffix.lower() not in FORMATS:
        what = f"no page can be written as {path.suffix!r}"
        raise UsageError(
            what if path.suffix else f"the name {str(path)!r} does not say what kind of page it is",
            hint=f"end the name in one of {', '.join(FORMATS)}",
        )
    check_output(path, overwrite=overwrite)


def write_answer(
    path: Path,
    document: Mapping[str, Json],
    arguments: Sequence[str],
    files: Mapping[str, bytes],
    started: datetime,
) -> None:
    """Write the page of what one command line came to.

    Raises:
        OutputError: it cannot be written.
    """
    command = shlex.join(["edgeq", *arguments])
    drawings = json.loads(files[DRAWINGS]) if DRAWINGS in files else {}
    made = document_of(
        {"machine": record(fingerprint()), **document},
        "",
        created=started.isoformat(timespec="seconds"),
        command=command,
        drawings=drawings,
    )
    write_page(path, [] if made is None else [made], command, overwrite=True)


def write_page(
    path: Path, documents: Sequence[Document], title: str, *, overwrite: bool = False
) -> None:
    """Write documents in the form that the file's name asks for.

    Raises:
        UsageError: the name ends in something else than a page does.
        OutputError: it cannot be written, or is there and must not be replaced.
    """
    check_page(path, overwrite=overwrite)
    shown = [part for document in documents for part in parts(document)]
    suffix = path.suffix.lower()
    if suffix == ".csv":
        content = _figures(documents)
    elif suffix == ".md":
        from edgeq.deploy.report.markdown import render as markdown

        content = markdown(shown, title)
    else:
        from edgeq.deploy.report.page import render

        content = render(shown, title)
    write_text(path, content, overwrite=overwrite)


def _figures(documents: Sequence[Document]) -> str:
    """Every number of the documents, a line each."""
    rows: list[Sequence[object]] = [("run", "made", "command", "figure", "value")]
    for document in documents:
        head = (document.label, document.created, document.kind)
        rows += ((*head, name, value) for name, value in figures_of(dict(document.content)))
    return csv_of(rows)
