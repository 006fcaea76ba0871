"""HTML and SVG written by hand: every text and every attribute is escaped, whatever it says.

What nobody sees and what turns the direction of writing is shown as an escape, too.

A :class:`Markup` is markup already; anything else that becomes part of a page is text.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, TypeAlias

from edgeq.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

_SEPARATOR = re.compile(r"([./_:\\@-]+)(?=[^\s./_:\\@-])")
_VOID = frozenset(("meta", "br", "img", "input", "line", "circle", "rect", "path", "use"))


class Markup(str):
    """Markup that may stand in a page as it is."""

    __slots__ = ()


Content: TypeAlias = "Markup | str | int | float | None"
Attribute: TypeAlias = "str | int | float | bool | None"

NOTHING = Markup("")


def text(content: Content) -> Markup:
    """Anything as markup: markup as it is, None as nothing, all else escaped."""
    if isinstance(content, Markup):
        return content
    return NOTHING if content is None else Markup(escape(printable(str(content)), quote=False))


def join(parts: Iterable[Content], between: str = "") -> Markup:
    """Several parts one after the other."""
    return Markup(escape(between).join(text(part) for part in parts))


def breakable(words: str) -> Markup:
    """Text whose names may go on in the next line after a separator, and nowhere else."""
    return Markup(_SEPARATOR.sub(r"\1<wbr>", escape(printable(words), quote=False)))


def element(tag: str, *content: Content, **attributes: Attribute) -> Markup:
    """An element.

    Args:
        tag: its name.
        content: what is in it, in order.
        attributes: by name; an underscore stands for a hyphen, and one at the end keeps off a word
            of Python's. None and False leave the attribute out, True gives it no value.
    """
    given = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in _VOID and not content:
        return Markup(
            f"<{tag}{given}>" if tag in ("meta", "br", "img", "input") else f"<{tag}{given}/>"
        )
    return Markup(f"<{tag}{given}>{join(content)}</{tag}>")


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    shown = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return f' {name}="{escape(printable(shown))}"'
