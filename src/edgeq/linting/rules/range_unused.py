"""Ranges of which a part is never used."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeq.errors import channels_named
from edgeq.linting import Problem
from edgeq.linting.model import fills

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.linting import Severity
    from edgeq.linting.model import LintLayer, LintModel

_HALF = 0.45  # of the integers: a bit is lost
_SUB_RANGES = frozenset(2**bits for bits in range(1, 7))
_LOST_BITS = 3  # of a channel's weights against the widest of its tensor
_SHARE = 0.25  # of the channels
_ENDS = {
    "Sigmoid": 1.0,
    "LOGISTIC": 1.0,
    "Softmax": 1.0,
    "SOFTMAX": 1.0,
    "HardSigmoid": 1.0,
}
"""The largest value of functions that have one."""


class RangeUnused:
    """Integers of a grid can never occur.

    The negative half of a symmetric grid behind a Relu, a grid
    that goes on beyond the largest value of a Sigmoid or Softmax, or channels that share a scale
    with much larger ones and keep few of their bits. Each unused half costs a bit of precision.
    """

    severity: ClassVar[Severity] = "note"
    summary: ClassVar[str] = "bits of a range that never occur"

    def check(self, model: LintModel) -> Iterator[Problem]:
        """One problem a tensor."""
        for tensor in model.activations:
            grid = tensor.grid
            if grid.axis is not None or not fills(grid):
                continue
            levels, zero = grid.qmax - grid.qmin, int(grid.zero_point)
            used = grid.qmax - zero + 1
            if used in _SUB_RANGES:
                continue  # few bits at the end of a byte, where storing saturates as it should
            unused = (zero - grid.qmin) / levels if tensor.positive else 0.0
            why = "nothing is negative behind its Relu"
            if tensor.op_type in _ENDS:
                last = zero + round(_ENDS[tensor.op_type] / float(grid.scale))
                unused, why = (grid.qmax - last) / levels, f"{tensor.op_type} ends at 1"
            if unused >= _HALF:
                yield Problem(
                    tensor.name,
                    f"{100 * unused:.0f} % of its integers never occur: {why}",
                    "calibrate it with an asymmetric range, from the smallest to the largest value",
                    float(-np.log2(max(1 - unused, 2.0**-16))),
                    "bits",
                )
        for layer in model.layers:
            yield from _weights(layer)


def _weights(layer: LintLayer) -> Iterator[Problem]:
    """Channels that keep few bits, as the whole tensor has one scale."""
    weights, grid = layer.weights, layer.weight_grid
    if weights is None or grid is None or grid.scale.size > 1 or not weights.size:
        return
    largest = np.abs(weights.reshape(len(weights), -1)).max(axis=1)
    bits = np.log2(np.maximum(largest, 1))
    few = tuple(int(i) for i in np.flatnonzero((bits.max() - bits > _LOST_BITS) & (largest > 0)))
    if len(few) > _SHARE * len(weights):
        lost = float(bits.max() - bits[list(few)].min())
        yield Problem(
            layer.node,
            f"{channels_named(few)} of {len(weights)} lose up to {lost:.1f} bits of their weights: "
            "one scale serves all channels",
            "quantise the weights per channel, or equalise the channels before",
            lost,
            "bits",
            few,
        )
