"""Channels whose result does not depend on the input."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeq.errors import channels_named
from edgeq.linting import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edgeq.linting import Severity
    from edgeq.linting.model import LintLayer, LintModel

_STILL = 0.5  # LSB that a result must move by to be another integer
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
            rows = layer.weights.reshape(len(layer.weights), -1)
            zero = np.abs(rows).max(axis=1) == 0
            if zero.any():
                yield _problem(layer, zero, "all weights are zero")
            moved = _moved_lsb(layer)
            if moved is None:
                continue
            still = (moved < _STILL) & ~zero
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


def _moved_lsb(layer: LintLayer) -> NDArray[np.float64] | None:
    """By how much inputs can move each channel, in LSB of the output."""
    ends, step, result = layer.reach(), layer.step, layer.result
    if ends is None or step is None or result is None or result.axis is not None:
        return None
    moved: NDArray[np.float64] = (ends[1] - ends[0]) * step / float(result.scale)
    return moved
