"""Ranges that cut off what they should hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeq.errors import channels_named
from edgeq.linting import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.linting import Severity
    from edgeq.linting.model import LintModel

_BYTE = 127  # narrower grids clip on purpose
_FEWEST = 32  # weights of a channel, so that a share means something
_SHARE = 0.125  # of the weights of a channel, at one end or the other


class RangeClipped:
    """An eighth or more of the 8-bit weights of a channel is at the ends of the range.

    A scale that
    was fitted to the weights leaves one or two there; so many say that larger weights were cut off.
    """

    severity: ClassVar[Severity] = "note"
    summary: ClassVar[str] = "8-bit weights of which many are at the ends of their range"

    def check(self, model: LintModel) -> Iterator[Problem]:
        """One problem a layer."""
        for layer in model.layers:
            weights, grid = layer.weights, layer.weight_grid
            if weights is None or grid is None or grid.dtype not in ("int8", "uint8"):
                continue
            rows = np.abs(weights.reshape(len(weights), -1))
            if rows.shape[1] < _FEWEST or rows.max() < _BYTE:
                continue
            share = (rows >= _BYTE).mean(axis=1)
            cut = tuple(int(i) for i in np.flatnonzero(share >= _SHARE))
            if cut and len(np.unique(rows)) > 3:  # fewer are binary or ternary weights
                yield Problem(
                    layer.node,
                    f"{channels_named(cut)}: up to {100 * share.max():.0f} % of the weights are at "
                    "the ends of the range",
                    "quantise the weights again with the scale of the largest one",
                    float(share.max()),
                    "of the weights",
                    cut,
                )
