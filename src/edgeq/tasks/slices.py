"""Figures of parts of the samples, by the columns that the data have of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

MOST_VALUES = 20
"""A column of more values is not a way to divide samples, but a name of each."""
Noun = Literal["class", "slice"]
"""What divides samples: their true class, or the values of a column."""
FEWEST, MOST_PARTS = 5, 50
"""How many samples a part has at least, and how many parts there are at most."""


def part_key(figure: str, noun: Noun, name: str) -> str:
    """What the figure of a part of the samples, or of one class, is called."""
    return f"{figure} of {noun} {name}"


def masks(
    noun: Noun, labels: NDArray[np.int64] | None, columns: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[np.bool_]]:
    """Which samples are of each part that can be judged, (samples,) by its name.

    Args:
        noun: what divides them.
        labels: the class of each; None where they have none.
        columns: what else is known of them, (samples,) by name.
    """
    found: dict[str, NDArray[np.bool_]] = {}
    if noun == "class" and labels is not None:
        found = {str(int(each)): labels == each for each in np.unique(labels)}
    for column, values in columns.items() if noun == "slice" else ():
        kinds = np.unique(values)
        if len(kinds) <= MOST_PARTS:
            found |= {f"{column} {kind}": values == kind for kind in kinds}
    return {name: mask for name, mask in found.items() if mask.sum() >= FEWEST}


class Columns:
    """Keeps the columns of all samples seen."""

    def __init__(self) -> None:
        self._parts: dict[str, list[NDArray[Any]]] = {}

    def update(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Add one batch."""
        for name, values in columns.items():
            self._parts.setdefault(name, []).append(np.asarray(values))

    def figures(self, figure: Callable[[NDArray[np.int64]], float]) -> dict[str, dict[str, float]]:
        """A figure of each value of each column.

        Args:
            figure: of the samples at these places; NaN where it is not defined.

        Returns:
            Column to value to figure, those that are defined.
        """
        found: dict[str, dict[str, float]] = {}
        for name, parts in self._parts.items():
            values = np.concatenate(parts)
            distinct = np.unique(values)
            if not 1 < len(distinct) <= MOST_VALUES:
                continue
            figures = {str(one): figure(np.flatnonzero(values == one)) for one in distinct}
            found[name] = known(figures)
        return {name: figures for name, figures in found.items() if figures}


def known(figures: Mapping[str, float]) -> dict[str, float]:
    """Those that are numbers."""
    return {name: value for name, value in figures.items() if not np.isnan(value)}
