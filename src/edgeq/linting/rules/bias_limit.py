"""Biases at the end of int32."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeq.errors import channels_named
from edgeq.linting import Problem
from edgeq.linting.model import ACCUMULATOR_RANGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.linting import Severity
    from edgeq.linting.model import LintModel


class BiasLimit:
    """A bias at the smallest or the largest number of 32 bits was clipped there.

    The network had a larger one, which is lost. It counts in input scale times weight scale, so
    this happens to channels whose weight scale is almost nothing.
    """

    severity: ClassVar[Severity] = "error"
    summary: ClassVar[str] = "biases that were clipped at the ends of int32"

    def check(self, model: LintModel) -> Iterator[Problem]:
        """One problem a layer."""
        low, high = ACCUMULATOR_RANGE
        for layer in model.layers:
            if layer.bias is None or layer.bias_grid is None or layer.bias_grid.dtype != "int32":
                continue
            at = tuple(
                int(channel)
                for channel in np.flatnonzero((layer.bias <= low + 1) | (layer.bias >= high))
            )
            if at:
                yield Problem(
                    layer.node,
                    f"{channels_named(at)}: the bias is {int(layer.bias[at[0]])}, the end of "
                    "int32, so the real one was clipped",
                    "quantise the float model again with a larger weight scale for these channels; "
                    "edgeq calibrate chooses scales on which biases fit",
                    float(len(at)),
                    "channels",
                    at,
                )
