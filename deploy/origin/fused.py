"""Activations that a file of layers alone computes within its layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.deploy.origin.matching import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgeq.deploy.origin.unrounded import FloatNetwork, FloatNode
    from edgeq.linting.model import LintActivation


def with_fused_bounds(
    values: Mapping[str, str], real: FloatNetwork, activations: Iterable[LintActivation]
) -> dict[str, str]:
    """Tensors of a file that holds values cut off, as the float values behind the activation.

    The layers of a TFLite file end in their activation, as an option or by the ends of the grid. A
    tensor that an operator of its own cuts off later reaches further than the activation.

    Args:
        values: for each tensor of the file, the float network's value that it is, layer by layer.
        real: the float network.
        activations: the tensors of the file.
    """
    readers, known = real.readers(), {each.name: each for each in activations}
    found = dict(values)
    for tensor, value in values.items():
        behind = readers.get(value, [])
        while len(behind) == 1 and tensor in known and _holds(known[tensor], behind[0]):
            found[tensor] = behind[0].outputs[0]
            behind = readers.get(found[tensor], [])
    return found


def _holds(tensor: LintActivation, node: FloatNode) -> bool:
    """Whether a tensor holds values as an activation leaves them."""
    if node.op_type not in BOUNDS or node.bounds is None:
        return False
    if tensor.positive and node.bounds[0] == 0:
        return True
    scale, zero = (np.asarray(each) for each in (tensor.grid.scale, tensor.grid.zero_point))
    low = float(((tensor.grid.qmin - zero) * scale).min())
    high = float(((tensor.grid.qmax - zero) * scale).max())
    step = float(scale.max())
    return node.bounds[0] - step < low and high < node.bounds[1] + step
