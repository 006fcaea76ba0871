"""What sections are made of: tables, figures with the table behind them, lists and folded parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.report.markup import NOTHING, Content, Markup, breakable, element, join
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

WIDE, NARROW = 720, 360
"""Widths of a chart in its own units, about pixels: on a desk and in print, on a phone."""
MANY = 9
"""Columns that paper has room for in common type."""
STACKED = 3
"""Columns of words from which a table's rows are stacked on a phone, cell below cell."""
MOST_OPEN = 2
"""Parts of a section that stand open beside each other."""
MOST_ROWS = 400
"""Rows of a table; the JSON has all."""

WORDS = {"good": "good", "look": "look", "bad": "wrong", "none": "no verdict"}
"""What a light says; colour is never alone."""
SIGNS = {"good": "✓", "look": "!", "bad": "✕", "none": "–"}


def light(state: str, words: str = "") -> Markup:
    """A traffic light with its words.

    Args:
        state: ``good``, ``look``, ``bad`` or ``none``.
        words: instead of those of the state.
    """
    sign = element("span", SIGNS[state], class_="sign", aria_hidden="true")
    return element("span", sign, " ", words or WORDS[state], class_=f"light {state}")


def table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Content]],
    *,
    words: int = 1,
    head: Content = None,
) -> Markup:
    """A table whose first column names the rows, in a box that scrolls by itself on small screens.

    Args:
        caption: what it shows.
        columns: the headings.
        rows: the cells; a column in which no row has anything is left out.
        words: how many columns, from the left, are words; the others are numbers.
        head: instead of the caption, where it is seen already.
    """
    full = [n for n in range(len(columns)) if any(str(row[n] or "") for row in rows)]
    stacked = sum(n < words for n in full) >= STACKED
    titles = [
        element("th", columns[n], scope="col", class_="text" if n < words else None) for n in full
    ]
    body = []
    for row in rows[:MOST_ROWS]:
        cells = [
            element("th", _broken(row[n]), scope="row")
            if n == 0
            else element(
                "td",
                _broken(row[n]) if n < words else row[n],
                class_="text" if n < words else None,
                data_label=columns[n] if stacked else None,
            )
            for n in full
        ]
        body.append(element("tr", *cells))
    kinds = [name for name, has in (("many", len(full) > MANY), ("stacked", stacked)) if has]
    left = len(rows) - len(body)
    more = (
        element("p", f"… and {counted(left, 'more row')}, in the JSON", class_="soft")
        if left
        else NOTHING
    )
    return element(
        "div",
        element(
            "table",
            element("caption", caption if head is None else head),
            element("thead", element("tr", *titles)),
            element("tbody", *body),
            class_=" ".join(kinds) or None,
        ),
        more,
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption,
    )


def _broken(cell: Content) -> Content:
    """A cell of words, which may be broken after the separators of a name."""
    return breakable(cell) if isinstance(cell, str) and not isinstance(cell, Markup) else cell


def folded(summary: Content, *content: Content, open_: bool = False) -> Markup:
    """A part that opens on request; on paper it is open."""
    return element("details", element("summary", summary), *content, open=open_)


def figure(
    title: str,
    draw: Callable[[int], Markup],
    behind: Markup,
    *,
    words: str,
    key: Sequence[Content] = (),
    readout: bool = False,
) -> Markup:
    """A chart, drawn for a desk and for a phone, with its key and the table behind it.

    Args:
        title: what is drawn.
        draw: the chart, given its width.
        behind: the table of the same numbers.
        words: what the chart shows, for those who cannot see it.
        key: the entries of the legend.
        readout: whether the arrow keys and the pointer read its points out.
    """
    entries = [element("li", entry) for entry in key]
    charts = [
        element(
            "div",
            draw(width),
            class_=f"chart {name}",
            role="img",
            aria_label=words,
        )
        for name, width in (("wide", WIDE), ("narrow", NARROW))
    ]
    walk = join(
        [
            element(
                "p",
                "Point at the chart, or walk through it: ",
                element("button", "previous", type="button", data_step="-1"),
                " ",
                element("button", "next", type="button", data_step="1"),
                class_="walk",
                hidden=True,
            ),
            element("p", class_="readout", aria_live="polite"),
        ]
    )
    return element(
        "figure",
        element(
            "figcaption",
            title,
            " ",
            element(
                "button",
                "PNG",
                type="button",
                class_="png",
                hidden=True,
                aria_label=f"Save as PNG: {title}",
            ),
        ),
        element("ul", *entries, class_="key") if entries else NOTHING,
        *charts,
        walk if readout else NOTHING,
        folded("The same in numbers", behind),
        data_readout=readout,
    )


def in_turn(parts: Iterable[tuple[str, Markup]]) -> Markup:
    """Parts that have something in them; of many, all but the first are folded."""
    shown = [(name, part) for name, part in parts if part]
    if len(shown) <= MOST_OPEN:
        return join(part for _, part in shown)
    return join(folded(name, part, open_=n == 0) for n, (name, part) in enumerate(shown))


def listed(items: Iterable[Content], **attributes: str) -> Markup:
    """A list."""
    return element("ul", *(element("li", item) for item in items), **attributes)


def command_line(words: str) -> Markup:
    """A command line, whose words are broken only where one is longer than the line."""
    return element("code", join((element("span", word) for word in words.split(" ")), " "))


def facts(pairs: Iterable[tuple[str, Content]]) -> Markup:
    """Names and their values."""
    return element(
        "dl", *(join([element("dt", name), element("dd", value)]) for name, value in pairs)
    )


def paragraph(*content: Content, class_: str | None = None) -> Markup:
    """A paragraph."""
    return element("p", *content, class_=class_)


def several(*parts: Markup) -> Markup:
    """Parts one after the other."""
    return join(parts)
