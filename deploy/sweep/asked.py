"""What a sweep file asks to be told of its cells: claims to test, and plots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeq.errors import UnknownName, UsageError
from edgeq.network.checks import check_flag, check_text

if TYPE_CHECKING:
    from collections.abc import Mapping

FIGURE = "figure"


@dataclass(frozen=True, slots=True)
class Ordering:
    """A claim of a sweep file.

    Attributes:
        claim: in words.
        figure: that is compared.
        less: parameters of the cells where it is claimed to be smaller; ``figure`` among them
            compares another figure there.
        more: those of the cells where it is claimed to be greater.
        ratio: whether ratios, and not differences, are compared; for figures above zero.
    """

    claim: str
    figure: str
    less: Mapping[str, Any]
    more: Mapping[str, Any]
    ratio: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines of means.

    Attributes:
        title: above it.
        x: a parameter of numbers; or the name of an axis, along which a family of figures lies.
        y: a figure; or a family, ``rmse`` for ``rmse/1``, ``rmse/2`` and so on.
        lines: parameters that tell lines apart.
        panel: the parameter of which each value has axes of its own; empty for one pair of axes.
        log: whether the vertical axis is logarithmic.
    """

    title: str
    x: str
    y: str
    lines: tuple[str, ...] = ()
    panel: str = ""
    log: bool = False


def read_ordering(content: object, grid: Mapping[str, Any]) -> Ordering:
    """A table ``[[ordering]]`` of a sweep file.

    Raises:
        UsageError: a key is unknown, missing or of another type.
    """
    known = ("claim", FIGURE, "less", "more", "ratio")
    if not isinstance(content, dict):
        raise UsageError("[[ordering]] is no table", hint="begin one with a line [[ordering]]")
    for name in content:
        if name not in known:
            raise UnknownName("key of [[ordering]]", name, known)
    sides = []
    for name in ("less", "more"):
        side = content.get(name, {})
        if not isinstance(side, dict):
            raise UsageError(
                f"{name} of [[ordering]] is {side!r}",
                hint=f'write parameters: {name} = {{ network = "resnet8" }}',
            )
        for parameter in side:
            if parameter != FIGURE and parameter not in grid:
                raise UnknownName(f"parameter in {name}", parameter, (*grid, FIGURE))
        sides.append(side)
    for name in ("claim", FIGURE):
        check_text(f"{name} of [[ordering]]", content.get(name, ""))
    check_flag("ratio", content.get("ratio", False))
    if sides[0] == sides[1] or sides[0].keys() - {FIGURE} != sides[1].keys() - {FIGURE}:
        raise UsageError(
            f"less is {sides[0]} and more is {sides[1]} in [[ordering]]",
            hint='give both the same parameter: less = { network = "a" }, more = { network = "b" }',
        )
    ratio = content.get("ratio", False)
    return Ordering(content["claim"], content[FIGURE], sides[0], sides[1], ratio)


def read_plot(content: object, grid: Mapping[str, Any]) -> Plot:
    """A table ``[[plot]]`` of a sweep file.

    Raises:
        UsageError: a key is unknown, missing or of another type.
    """
    if not isinstance(content, dict):
        raise UsageError("[[plot]] is no table", hint="begin one with a line [[plot]]")
    known = ("title", "x", "y", "panel", "lines", "log")
    for name in content:
        if name not in known:
            raise UnknownName("key of [[plot]]", name, known)
    for name in ("title", "x", "y"):
        check_text(f"{name} of [[plot]]", content.get(name, ""))
    check_flag("log", content.get("log", False))
    lines, panel = content.get("lines", []), content.get("panel", "")
    if not isinstance(lines, list):
        raise UsageError(f"lines is {lines!r}", hint='write parameters: lines = ["network"]')
    for name in [*lines, *([panel] if panel else [])]:
        if name not in grid:
            raise UnknownName("parameter of [grid]", str(name), grid)
    if not content["title"] or not content["x"] or not content["y"]:
        raise UsageError("[[plot]] lacks title, x or y", hint='write y = "accuracy" and so on')
    return Plot(
        content["title"],
        content["x"],
        content["y"],
        tuple(lines),
        panel,
        content.get("log", False),
    )
