"""One difference between two files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "operator missing",
    "operator added",
    "operator",
    "attribute",
    "constant",
    "layer missing",
    "layer added",
    "activation missing",
    "activation added",
    "shape",
    "number format",
    "weight scale",
    "weight zero point",
    "weights requantised",
    "weights",
    "channels reordered",
    "weights transposed",
    "bias",
    "bias scale",
    "activation scale",
    "zero point",
    "range",
    "integers read on another grid",
    "broken scale",
]
"""What can differ."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference.

    Attributes:
        kind: what differs.
        where: the layer or tensor, by its name in the first file where it is there.
        detail: how, in one line, with the numbers.
        channels: the output channels that differ; empty for all of them, or where there are none.
        factor: by what a scale was multiplied; None where nothing was.
        steps: the largest change in integers; None where there is none to count.
    """

    kind: Kind
    where: str
    detail: str
    channels: tuple[int, ...] = ()
    factor: float | None = None
    steps: int | None = None


def listed(channels: tuple[int, ...], of: int) -> str:
    """Channels for people: ``channel 3``, ``channels 1, 2 and 5``, ``8 of 16 channels``."""
    if len(channels) == of:
        return "all channels" if of > 1 else "its channel"
    if len(channels) == 1:
        return f"channel {channels[0]}"
    if 2 <= len(channels) <= 4:
        *first, last = map(str, channels)
        return f"channels {', '.join(first)} and {last}"
    return f"{len(channels)} of {of} channels"
