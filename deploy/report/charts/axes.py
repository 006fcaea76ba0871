"""Scales, ticks and the frame around a plot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.deploy.report.markup import Content, Markup, element, join

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CHARACTER = 6.6
"""Width of a character of 12 px, about, in units of a chart."""

FEWEST_TICKS = 2
"""An axis with fewer says nothing of its scale."""
_MOST = 1e300


@dataclass(frozen=True, slots=True)
class Scale:
    """Values to places.

    Attributes:
        low: the value at ``start``.
        high: the value at ``end``.
        start: a place, in units of the chart.
        end: another.
        log: whether equal ratios, not equal differences, are equally far apart.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def of(cls, values: Iterable[float], start: float, end: float, *, log: bool = False) -> Scale:
        """A scale with room for values; those that no scale has room for are left out.

        Those are what is not finite, and of a logarithmic one also what is not above zero.
        """
        known = [value for value in values if abs(value) < _MOST and (value > 1 / _MOST or not log)]
        low, high = (min(known), max(known)) if known else (0.1, 1.0) if log else (0.0, 1.0)
        if log:
            low, high = low / 1.3, high * 1.3
            if high / low < 10:
                middle = math.sqrt(low) * math.sqrt(high)
                low, high = middle / math.sqrt(10), middle * math.sqrt(10)
        elif low == high:
            low, high = (low - 0.5, high + 0.5) if low else (0.0, 1.0)
        return cls(low, high, start, end, log)

    def at(self, value: float) -> float:
        """The place of a value; one beyond the scale is put at its end."""
        if self.log:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """Round values to be named along the axis."""
        if self.log:
            return self._decades(most)
        for parts in (max(1, most), max(1, most) + 1, 2 * max(1, most)):
            step = _round_step((self.high - self.low) / parts)
            first = math.ceil(self.low / step - 1e-9)
            last = math.floor(self.high / step + 1e-9)
            if last - first >= FEWEST_TICKS - 1:
                break
        return [number * step for number in range(first, last + 1)]

    def _decades(self, most: int) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        every = max(1, math.ceil((last - first) / max(1, most)))
        digits = (1, 2, 5) if (last - first) * 2 <= most else (1,)
        found = [10.0**power * digit for power in range(first, last + 1, every) for digit in digits]
        inside = [value for value in found if self.low <= value <= self.high]
        if len(inside) >= FEWEST_TICKS or digits != (1,):
            return inside
        every_digit = [10.0**power * n for power in range(first, last + 1) for n in (1, 2, 5)]
        return [value for value in every_digit if self.low <= value <= self.high]


def tick_name(value: float) -> str:
    """A tick in few characters."""
    if value == 0:
        return "0"
    if abs(value) >= 1e5 or abs(value) < 1e-3:
        mantissa, power = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(power)}".replace("-", "−")
    whole = abs(value) >= 1e3
    return (f"{value:,.0f}" if whole else f"{value:.4g}").replace("-", "−")


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a plot lies in its chart.

    Attributes:
        width: of the chart.
        height: of the chart.
        left: room for names at the left.
        right: room at the right.
        top: room above.
        bottom: room below.
    """

    width: int
    height: int
    left: float = 54
    right: float = 12
    top: float = 10
    bottom: float = 42

    def across(self, values: Iterable[float], *, log: bool = False) -> Scale:
        """A scale from left to right."""
        return Scale.of(values, self.left, self.width - self.right, log=log)

    def upward(self, values: Iterable[float], *, log: bool = False) -> Scale:
        """A scale from below to above."""
        return Scale.of(values, self.height - self.bottom, self.top, log=log)

    def x_axis(
        self, scale: Scale, title: str, ticks: Sequence[tuple[float, str]] | None = None
    ) -> Markup:
        """Lines upward at the ticks, their names below, and the title under them."""
        room = self.width - self.left - self.right
        named = ticks or [
            (value, tick_name(value)) for value in scale.ticks(max(3, int(room // 90)))
        ]
        base = self.height - self.bottom
        return join(
            [
                *(
                    element(
                        "line", x1=scale.at(v), x2=scale.at(v), y1=self.top, y2=base, class_="grid"
                    )
                    for v, _ in named
                ),
                *(self._tick(name, scale.at(v), base + 16) for v, name in named),
                label(
                    title, self.left + room / 2, self.height - 6, anchor="middle", class_="title"
                ),
            ]
        )

    def _tick(self, name: str, x: float, y: float) -> Markup:
        """The name of a tick, which ends at the chart's edge where it would be cut."""
        half = len(name) * CHARACTER / 2
        if x + half > self.width:
            return label(name, self.width - 2.0, y, anchor="end")
        return label(name, x, y, anchor="middle") if x > half else label(name, 2.0, y)

    def y_axis(self, scale: Scale, title: str) -> Markup:
        """Lines across at the ticks, their names at the left, and the title turned."""
        named = [(value, tick_name(value)) for value in scale.ticks(6)]
        right, middle = self.width - self.right, (self.top + self.height - self.bottom) / 2
        return join(
            [
                *(
                    element(
                        "line",
                        x1=self.left,
                        x2=right,
                        y1=scale.at(v),
                        y2=scale.at(v),
                        class_="grid",
                    )
                    for v, _ in named
                ),
                *(label(name, self.left - 6, scale.at(v) + 4, anchor="end") for v, name in named),
                label(
                    title,
                    0,
                    0,
                    anchor="middle",
                    class_="title",
                    transform=f"translate(12 {middle:.0f}) rotate(-90)",
                ),
            ]
        )

    def drawing(self, *content: Content) -> Markup:
        """The whole as SVG."""
        return element(
            "svg",
            *content,
            viewBox=f"0 0 {self.width} {self.height}",
            width=self.width,
            height=self.height,
            aria_hidden="true",
            focusable="false",
        )


def label(
    words: str,
    x: float,
    y: float,
    *,
    anchor: str = "start",
    class_: str | None = None,
    transform: str | None = None,
) -> Markup:
    """Text in a chart."""
    return element(
        "text",
        words,
        x=float(x),
        y=float(y),
        text_anchor=anchor,
        class_=class_,
        transform=transform,
    )


def cut(words: str, room: float) -> str:
    """As much of a name as there is room for: its end, which tells it from others."""
    most = max(3, int(room // CHARACTER))
    return words if len(words) <= most else f"…{words[1 - most :]}"


def _round_step(about: float) -> float:
    power = 10.0 ** math.floor(math.log10(about))
    return power * next(digit for digit in (1, 2, 2.5, 5, 10) if digit * power >= about * 0.999)
