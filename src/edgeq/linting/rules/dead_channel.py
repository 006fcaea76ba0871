"""Channels whose result does not depend on the input."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeq.errors import channels_named
from edgeq.linting import Problem
from edgeq.linting.layer_bounds import still_channels, zero_channels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edgeq.linting import Severity
    from edgeq.linting.model import LintLayer, LintModel

_NOTHING = 2.0**-10  # LSB; more is a channel that rounding alone made constant
_HINT = (
    "remove the channel from the network, or train it again; edgeq export --to tflite gives it a "
    "scale on which its bias fits"
)


class DeadChannel:
    """A channel computes the same number for every input.

    All its weights are zero, or they are so small that no input moves its result by half a step of
    the output (exactly bounded: positive weights times the largest input, negative weights times
    the smallest). It is a note where only rounding makes it so.

    Quantisers give such a channel a scale of almost nothing, and then its bias no longer fits 32
    bits. It also costs time and memory for nothing.
    """

    severity: ClassVar[Severity] = "warning"
    summary: ClassVar[str] = "channels whose result is the same for every input"

    def check(self, model: LintModel) -> Iterator[Problem]:
        """One problem a layer for weights of zero, one for weights that are too small."""
        for layer in model.layers:
            if layer.weights is None or not layer.weights.size:
                continue
            zero = zero_channels(layer)
            if zero.any():
                yield _problem(layer, zero, "all weights are zero")
            found = still_channels(layer)
            if found is None:
                continue
            still, moved = found[0] & ~zero, found[1]
            if still.any():
                most = float(moved[still].max())
                yield _problem(
                    layer,
                    still,
                    f"its weights move the result by at most {most:.2g} LSB",
                    "warning" if most < _NOTHING else "note",
                )


def _problem(
    layer: LintLayer, dead: NDArray[np.bool_], why: str, severity: Severity = "warning"
) -> Problem:
    channels = tuple(int(channel) for channel in np.flatnonzero(dead))
    return Problem(
        layer.node,
        f"{channels_named(channels)} of {len(dead)}: {why}",
        _HINT,
        float(len(channels)),
        "channels",
        channels,
        severity,
    )
