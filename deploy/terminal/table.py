"""A table that fits the terminal: no figure is cut, no word is broken and nothing is left out.

Where a narrow terminal has no room, texts go below their row, as ``heading: text``, and so does a
single column that is left; several go on in a second table below, which names the rows again. A
long name keeps its end, which tells it from others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

GAP, NARROW_GAP = 3, 2  # columns between cells, where there is room and where there is not
NAME, TEXT = 32, 28  # columns below which a name or a text is not squeezed
_VERDICTS = ("verdict", "outcome", "severity", "trust", "usable")
"""The headings of columns whose words have a colour where a person looks."""
_STYLES = {
    **dict.fromkeys(("pass", "passed", "exact", "good", "ok", "yes"), "green"),
    **dict.fromkeys(("fail", "failed", "wrong", "WRONG", "error", "no"), "bold red"),
    **dict.fromkeys(
        ("inconclusive", "not-run", "not run", "expected-failure", "look", "warning", "if named"),
        "yellow",
    ),
}


class TerminalTable:
    """A table as rich renders it, laid out for the width that rich offers.

    Args:
        columns: their headings; all empty for a table without a head.
        rows: their cells, plain text.
        numbers: the headings of columns to align at the right, which are never squeezed.
    """

    def __init__(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str]
    ) -> None:
        kept = [i for i, _ in enumerate(columns) if any(row[i] for row in rows)] or list(
            range(len(columns))
        )
        self._columns = [columns[i] for i in kept]
        self._rows = [[row[i] for i in kept] for row in rows]
        self._right = [columns[i] in numbers for i in kept]
        self._texts = [_is_text([row[i] for row in self._rows]) for i in range(len(kept))]
        self._bodies = [
            max(map(_width, (row[i] for row in self._rows)), default=0) for i in range(len(kept))
        ]
        self._naturals = [self._natural(i) for i in range(len(kept))]
        self._leasts = [self._least(i) for i in range(len(kept))]
        self._gap = GAP

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines of the table."""
        from rich.text import Text

        available = options.max_width - 2  # a blank at either edge
        self._gap = GAP if self._total(range(len(self._columns))) <= available else NARROW_GAP
        parts, below = self._split(available)
        for number, inside in enumerate(parts):
            widths = self._widths(inside, available)
            yield Text()
            if any(self._columns):
                head = [self._columns[i] for i in inside]
                yield from self._lines(console, head, inside, widths, "bold")
                yield Text(f" {'─' * (sum(widths) + self._gap * (len(widths) - 1))}")
            for row in self._rows:
                yield from self._lines(console, [row[i] for i in inside], inside, widths)
                for i in below if number == 0 else ():
                    if row[i]:
                        yield from _below(console, self._columns[i], row[i], available)
        yield Text()

    def _style(self, i: int, cell: str) -> str:
        """The colour of a verdict."""
        return _STYLES.get(cell, "") if self._columns[i] in _VERDICTS else ""

    def _natural(self, i: int) -> int:
        """The columns that the widest line of a column takes."""
        return max(_width(cell) for cell in (self._columns[i], *(row[i] for row in self._rows)))

    def _least(self, i: int) -> int:
        """The columns below which a column does not go."""
        cells = [row[i] for row in self._rows]
        head = _longest_word(self._columns[i])
        if self._right[i]:
            return max(head, *map(_width, cells), 1)
        word = max(map(_longest_word, cells), default=0)
        if i and self._texts[i]:
            return min(self._naturals[i], max(head, word, TEXT))
        return min(self._naturals[i], max(head, min(word, NAME)))

    def _split(self, available: int) -> tuple[list[list[int]], list[int]]:
        """The columns of each table, and those that go below the rows: texts, the widest first."""
        inside = list(range(len(self._columns)))
        movable = [i for i in inside[1:] if self._columns[i] and self._texts[i]]
        movable.sort(key=self._naturals.__getitem__)
        while movable and self._total(inside) > available:
            inside.remove(movable.pop())
        parts = [inside[:1]]
        for i in inside[1:]:
            if len(parts[-1]) > 1 and self._total([*parts[-1], i]) > available:
                parts.append(inside[:1])
            parts[-1].append(i)
        below = [i for i in range(len(self._columns)) if i not in inside]
        if len(parts) == 2 and len(parts[1]) == 2 and self._columns[parts[1][1]]:
            below = sorted([*below, parts.pop()[1]])
        return parts, below

    def _total(self, inside: Sequence[int]) -> int:
        return sum(self._leasts[i] for i in inside) + self._gap * (len(inside) - 1)

    def _widths(self, inside: Sequence[int], available: int) -> list[int]:
        """What each column gets: its least, and of the room that is left what cells want first."""
        widths = {i: self._leasts[i] for i in inside}
        spare = max(available - self._total(inside), 0)
        for wanted in (self._bodies, self._naturals):
            wanting = sorted(inside, key=lambda i: wanted[i] - widths[i])
            for done, i in enumerate(wanting):
                more = min(max(wanted[i] - widths[i], 0), spare // (len(wanting) - done))
                widths[i] += more
                spare -= more
        over = self._total(inside) - available
        if over > 0:  # the name gives way, since a figure must not
            widths[inside[0]] = max(widths[inside[0]] - over, 1)
        return [widths[i] for i in inside]

    def _lines(
        self,
        console: Console,
        cells: Sequence[str],
        inside: Sequence[int],
        widths: Sequence[int],
        style: str = "",
    ) -> Iterator[Text]:
        """The lines of one row."""
        from rich.text import Text

        wrapped = [
            _wrapped(console, cell, width, style or self._style(i, cell))
            for i, cell, width in zip(inside, cells, widths, strict=True)
        ]
        for number in range(max(map(len, wrapped))):
            line = Text(" ")
            for place, (i, lines, width) in enumerate(zip(inside, wrapped, widths, strict=True)):
                part = lines[number] if number < len(lines) else Text()
                part.rstrip()
                part.align("right" if self._right[i] else "left", width)
                line.append(" " * self._gap if place else "").append_text(part)
            yield line


def _wrapped(console: Console, cell: str, width: int, style: str) -> Sequence[Text]:
    """The lines of a cell; one that fits is not looked at word by word."""
    from rich.text import Text

    if cell.isprintable() and _width(cell) <= width:
        return [Text(cell, style)]
    return list(Text(_shorten(cell, width), style).wrap(console, width, overflow="fold"))


def _below(console: Console, heading: str, text: str, available: int) -> Iterator[Text]:
    from rich.text import Text

    indent = "    "
    for line in Text(f"{heading}: {text}").wrap(console, max(available - len(indent), 1)):
        line.rstrip()
        yield Text(indent).append_text(line)


def _shorten(cell: str, width: int) -> str:
    """A cell in which a word that has no room keeps its end, after an ellipsis."""
    if _longest_word(cell) <= width:
        return cell
    return " ".join(_end(word, width) for word in cell.split())


def _end(word: str, width: int) -> str:
    from rich.cells import cell_len

    if cell_len(word) <= width:
        return word
    kept = ""
    for character in reversed(word):
        if cell_len(kept) + cell_len(character) >= width:
            break
        kept = character + kept
    return f"…{kept}"


def _width(text: str) -> int:
    from rich.cells import cell_len

    return max((cell_len(line) for line in text.splitlines()), default=0)


def _longest_word(text: str) -> int:
    return max(map(_width, text.split()), default=0)


def _is_text(cells: Sequence[str]) -> bool:
    """Whether a column holds sentences rather than names and numbers."""
    return any(len(cell.split()) > 3 for cell in cells)
