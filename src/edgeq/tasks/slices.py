"""Figures of parts of the samples, by the columns that the data have of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

MOST_VALUES = 20
"""A column of more values is not a way to divide samples, but a name of each."""


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
