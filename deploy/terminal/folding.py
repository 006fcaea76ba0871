"""Lines folded at the width of a terminal, never inside a word, a name in quotes or a command.

What one would paste stays whole, even where it is longer than the line.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_INDENT = 2  # further than the line that goes on
_PROGRAMS = "edgeq|git|pip|pipx|uv|python3?|docker|sudo|apt-get"
# a command goes to the next mark or closing bracket; what is in quotes may hold any
_COMMAND = (
    rf"(?:{_PROGRAMS})(?= [-\w.'\"/])(?:'[^'\n]*'|\"[^\"\n]*\"|[^;,)'\"\n:]|[:,](?=\S)|['\"])*"
)
_QUOTED = r"(?:'[^'\n]{1,200}'|\"[^\"\n]{1,200}\")(?!\w)"
_LABEL = re.compile(r"\s*\w+:")
"""Such as ``hint:``, which stays with what it is about."""
_PIECE = re.compile(rf"(?:(?<![\w./-])(?:{_COMMAND}|{_QUOTED})|\S)+")


def folded(text: str, columns: int) -> str:
    """A text whose lines take so many columns at most, unless a piece of them takes more.

    Args:
        text: a line or several; one that fits stays as it is.
        columns: of the terminal.
    """
    return "\n".join(part for line in text.split("\n") for part in _parts(line, columns))


def _parts(line: str, columns: int) -> Iterator[str]:
    if _cells(line) <= columns:
        yield line
        return
    indent = line[: len(line) - len(line.lstrip())]
    now = ""
    for found in _PIECE.finditer(line):
        piece = found.group().rstrip()
        if not now:
            now = f"{indent}{piece}"
        elif _LABEL.fullmatch(now) or _cells(now) + 1 + _cells(piece) <= columns:
            now += f" {piece}"
        else:
            yield now
            now = f"{indent}{' ' * _INDENT}{piece}"
    yield now


def _cells(text: str) -> int:
    """The columns that a text takes: a character may take two, or none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
