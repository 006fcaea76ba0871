"""Operators that are nothing but picks.

For each place of the result, along each axis, which place of the input stands there.

Tile, Expand and padding by reflection, by the edge or all the way round are one operator of the
view, ``Pick``. Its attribute ``counts`` says how many places are picked along each axis of the
result, 0 for all as they are; ``picks`` holds them, axis after axis.

``Embedding`` is a Gather from a constant table by whole numbers that an input gives, as the tokens
of a text are. They stand for themselves: they have no scale, and nothing is computed with them.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.numerics.attributes import integers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.numerics.attributes import AttributeValue

    Attributes = Mapping[str, AttributeValue]

PICK = "Pick"
EMBEDDING = "Embedding"
PaddingMode = Literal["reflect", "edge", "wrap"]
PADDING_MODES: Mapping[str, PaddingMode] = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
_MOST_PICKS = 2**24


def tiled(
    title: str, shape: Sequence[int], wanted: Sequence[int], repeats: Sequence[int]
) -> dict[str, AttributeValue]:
    """The picks of a Tile.

    Args:
        title: the node's, for messages.
        shape: of its input.
        wanted: of its result, as the file states it.
        repeats: how often each axis is repeated.

    Raises:
        ArtefactError: the shapes do not go together.
    """
    if tuple(size * times for size, times in zip(shape, repeats, strict=True)) != tuple(wanted):
        raise ArtefactError(
            f"Tile {title!r} makes {tuple(wanted)} of {tuple(shape)}",
            hint="export the model with fixed dimensions",
        )
    return _attributes(
        [
            np.arange(after) % before if after != before else None
            for before, after in zip(shape, wanted, strict=True)
        ]
    )


def expanded(title: str, shape: Sequence[int], wanted: Sequence[int]) -> dict[str, AttributeValue]:
    """The picks of an Expand; axes that the input lacks are in front, of one place.

    Raises:
        ArtefactError: the shapes do not go together.
    """
    whole = (*(1,) * (len(wanted) - len(shape)), *shape)
    if len(whole) != len(wanted) or any(
        before not in (1, after) for before, after in zip(whole, wanted, strict=True)
    ):
        raise ArtefactError(
            f"Expand {title!r} makes {tuple(wanted)} of {tuple(shape)}",
            hint="export the model with fixed dimensions",
        )
    return _attributes(
        [
            np.zeros(after, int) if after != before else None
            for before, after in zip(whole, wanted, strict=True)
        ]
    )


def padded(
    title: str, shape: Sequence[int], pads: Sequence[int], mode: str
) -> dict[str, AttributeValue]:
    """The picks of a Pad by one of ``PADDING_MODES``; negative padding crops first.

    Raises:
        ArtefactError: another mode, nothing is left to pad, or more is reflected than there is.
    """
    if mode not in PADDING_MODES:
        raise ArtefactError(
            f"Pad {title!r} pads by {mode!r}",
            hint=f"pad with a constant, or by {', '.join(PADDING_MODES)}",
        )
    picks = []
    for before, after, size in zip(pads[: len(shape)], pads[len(shape) :], shape, strict=True):
        places = np.arange(size)[max(-before, 0) : size - max(-after, 0)]
        most = max(before, after)
        if (
            places.size == 0
            or (mode == "reflect" and most >= places.size)
            or (mode == "wrap" and most > places.size)
        ):
            raise ArtefactError(
                f"Pad {title!r} pads an axis of {size} by {before} and {after}",
                hint="pad by less than the axis has",
            )
        sides = (max(before, 0), max(after, 0))
        picks.append(np.pad(places, sides, mode=PADDING_MODES[mode]) if before or after else None)
    return _attributes(picks)


def picks_of(attributes: Attributes) -> dict[int, tuple[int, ...]]:
    """The places that a ``Pick`` picks along each axis of its result, but for axes kept whole."""
    places = iter(integers(attributes, "picks"))
    return {
        axis: tuple(itertools.islice(places, count))
        for axis, count in enumerate(integers(attributes, "counts"))
        if count
    }


def _attributes(picks: Sequence[np.ndarray | None]) -> dict[str, AttributeValue]:
    counts = tuple(0 if places is None else len(places) for places in picks)
    if sum(counts) > _MOST_PICKS:
        raise ArtefactError(
            f"an operator picks {sum(counts)} places",
            hint="export the model for the size of input it is meant for",
        )
    return {
        "counts": counts,
        "picks": tuple(int(place) for places in picks if places is not None for place in places),
    }
