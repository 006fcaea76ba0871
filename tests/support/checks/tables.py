"""Every table that the tests have a command print also fits 80 columns, with whole figures."""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgeq.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pytest

WIDTH = 80


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """While it holds, each table is laid out for 80 columns too, and looked at."""
    from edgeq.deploy import console

    printed = console.write_table

    def write_table(
        title: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        numbers: Sequence[str] = (),
    ) -> None:
        check_table(columns, rows, numbers)
        printed(title, columns, rows, numbers=numbers)

    monkeypatch.setattr(console, "write_table", write_table)
    yield


def check_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Sequence[str],
    width: int = WIDTH,
) -> None:
    """Check that a table fits, that no figure is cut and that no word is broken."""
    text = laid_out(columns, rows, numbers, width)
    rows = [list(map(printable, row)) for row in rows[:40]]
    lines = text.splitlines()
    assert max(map(len, lines), default=0) <= width, text
    told = set(text.split())
    for row in rows:
        for column, cell in zip(columns, row, strict=True):
            words = cell.split()
            if column in numbers or re.fullmatch(r"[-+−±.,\d\s%]+", cell):
                assert set(words) <= told, f"{cell!r} of {column!r} is cut:\n{text}"
            broken = [word for word in words if len(word) <= 24 and word not in told]
            assert not broken, f"{broken} of {column!r} is broken:\n{text}"


def laid_out(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str], width: int
) -> str:
    """A table as a terminal of some width shows it."""
    from rich.console import Console

    from edgeq.deploy.terminal.table import TerminalTable

    file = io.StringIO()
    shown = [list(map(printable, row)) for row in (columns, *rows)]
    table = TerminalTable(shown[0], shown[1:], [printable(name) for name in numbers])
    Console(file=file, width=width, color_system=None).print(table)
    return file.getvalue()
