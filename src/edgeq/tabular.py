"""Results that show themselves.

A few lines in a terminal, a table in a notebook, a dict for JSON.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from edgeq.errors import printable
from edgeq.plain import record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeq.plain import Json

MOST_ROWS = 20  # of a repr
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_WIDEST = 40  # characters of a cell of a repr


_SINGULAR = {"are": "is", "were": "was", "have": "has", "do": "does"}
"""The verbs whose third person is not the plural with an ``s``."""


def counted(count: int, noun: str, verb: str = "", *, of: int | None = None) -> str:
    """So many of something: ``1 sample``, ``1,000 samples``, ``1 of 5 operators does``.

    Args:
        count: how many; a verb agrees with it.
        noun: what is counted, in the singular.
        verb: what they do, in the plural, such as ``are`` or ``differ``.
        of: how many there are in all; the noun agrees with it.
    """
    whole = count if of is None else of
    number = f"{count:,}" if of is None else f"{count:,} of {of:,}"
    does = verb if not verb or count != 1 else _SINGULAR.get(verb, f"{verb}s")
    return f"{number} {noun if whole == 1 else _plural(noun)}" + (f" {does}" if does else "")


def _plural(noun: str) -> str:
    hissing = noun.endswith(("ch", "s", "x")) and not noun.endswith("epoch")
    return f"{noun}es" if hissing else f"{noun}s"


def few_of(names: Sequence[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def csv_of(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV; no text in them is one that a spreadsheet computes, as names of files may be."""
    import csv

    stream = io.StringIO()
    lines = csv.writer(stream, lineterminator="\n")
    lines.writerows([_inert(cell) for cell in row] for row in rows)
    return stream.getvalue()


def _inert(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    return f"'{printable(cell)}" if cell.startswith(_FORMULA) else printable(cell)


@dataclass(frozen=True, slots=True)
class Table:
    """What a result looks like.

    Attributes:
        title: the line above.
        columns: the headings.
        rows: the cells.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Tabular(ABC):
    """A frozen record that has a table."""

    __slots__ = ()

    @abstractmethod
    def table(self) -> Table:
        """What is shown of it."""

    def to_dict(self) -> dict[str, Json]:
        """Its fields as plain values, as JSON can hold them: what is not finite becomes None."""
        return record(self)

    def __repr__(self) -> str:
        table = self.table()
        rows = [[_cut(cell) for cell in row] for row in table.rows[:MOST_ROWS]]
        lines = [list(table.columns), *rows] if rows else []
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        told = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        more = len(table.rows) - len(rows)
        return printable(
            "\n".join([table.title, *told, *([f"… and {more} more"] if more > 0 else [])])
        )

    def _repr_html_(self) -> str:
        table = self.table()
        head = "".join(f"<th>{_text(heading)}</th>" for heading in table.columns)
        body = "".join(
            f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in table.rows
        )
        return (
            f"<table><caption>{_text(table.title)}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>"
        )


def share(value: float | None) -> str:
    """A share in percent; empty for none."""
    return "" if value is None else f"{100 * value:.2f}"


def _text(words: str) -> str:
    return escape(printable(words))


def _cut(text: str) -> str:
    """A long sentence without its end, a long name without its beginning."""
    if len(text) <= _WIDEST:
        return text
    return f"{text[: _WIDEST - 1]}…" if " " in text else f"…{text[1 - _WIDEST :]}"
