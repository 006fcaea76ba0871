"""Means over large windows as convolutions of equal weights, so that their results have a grid of their own.

The more numbers a mean is made of, the smaller it is beside the greatest of them, and
AVERAGE_POOL_2D knows no other grid than the one it reads. A convolution with the weight 1/n for
each of n places says the same, and rescales. Means over few numbers gain little by it (2 x 2 behind
a ReLU: 0.7 dB), and stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration._nodes import argument, help_only, integer, ints, shape_of
from edgeq.calibration.normal_form.layers import own_constants

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.calibration.normal_form.draft import Draft


_MANY = 9  # places of a window, from which on its mean is a convolution


def averages_as_layers(draft: Draft) -> None:
    """Rewrite in place each AveragePool over a large window that counts its padding or has none."""
    for node in tuple(draft.graph):
        if node.domain == "" and node.op_type == "AveragePool":
            _as_layer(draft, node)


def _as_layer(draft: Draft, node: ir.Node) -> None:
    source, shape = argument(node, 0), shape_of(argument(node, 0))
    kernel = ints(node, "kernel_shape", [])
    pads = ints(node, "pads", [0] * (2 * len(kernel)))
    if (
        source is None
        or shape is None
        or shape[1] is None
        or np.prod(kernel) < _MANY
        or (any(pads) and not integer(node, "count_include_pad", 0))
    ):
        return
    ones = [1] * len(kernel)
    attributes: dict[str, int | float | str | list[int] | list[float]] = {
        "kernel_shape": kernel,
        "strides": ints(node, "strides", ones),
        "dilations": ones,
        "pads": pads,
        "group": shape[1],
    }
    weight = np.full((shape[1], 1, *kernel), 1 / np.prod(kernel))
    result = draft.add(
        "Conv", [source, draft.reals(node, "share", weight)], node, "mean", attributes=attributes
    )
    conv = result.producer()
    if conv is None:
        return
    conv.name = node.name
    own_constants(draft, conv, weight, None)
    help_only(result)
    draft.finish(node, result)
