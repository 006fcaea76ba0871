"""How much of an operator's error rounding explains, given the float network's values.

A value that is rounded to a step ``s`` is off by ``s^2 / 12`` in the mean square. An operator adds
up what its inputs and weights are off by, each times what it multiplies them by:

    E[e^2] = s_y^2 / 12 + sum_k w_k^2 s_x^2 / 12 + sum_k E[x_k^2] s_w^2 / 12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.deploy.why.measure import OperatorMeter
    from edgeq.linting.model import LintLayer
    from edgeq.quant import QuantParams

_ROUNDED = 1 / 12
_STEPS = 5
"""Root of the mean squared error, in steps, below which numbers are too near each other to tell."""
_SUMS = frozenset(
    (
        "Add",
        "Sub",
        "Concat",
        "Relu",
        "Clip",
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "ReduceMean",
        "QuantizeLinear",
        "Flatten",
        "Reshape",
        "Transpose",
        "Slice",
        "Split",
        "Squeeze",
        "Unsqueeze",
        "ADD",
        "SUB",
        "CONCATENATION",
        "MAX_POOL_2D",
        "AVERAGE_POOL_2D",
        "MEAN",
        "QUANTIZE",
        "RESHAPE",
        "TRANSPOSE",
    )
)
"""Operators that multiply no input by more than one."""


def rounding_noise(
    meter: OperatorMeter,
    layer: LintLayer | None,
    grids: Mapping[str, QuantParams],
) -> float | None:
    """The mean squared error that rounding gives an operator, in squared steps of its result.

    Args:
        meter: the operator's errors, and how large what it reads is.
        layer: its weights; None for none.
        grids: of the tensors.

    Returns:
        None where that is not known.
    """
    operator = meter.operator
    result = operator.params
    inputs = [grids[name] for name in operator.inputs if name in grids]
    if result is None or result.axis is not None or len(inputs) != len(operator.inputs):
        return None
    step = float(result.scale)
    if any(each.axis is not None for each in inputs):
        return None
    if layer is not None and layer.weights is not None and layer.weight_grid is not None:
        if len(inputs) != 1:
            return None
        scale = np.atleast_1d(layer.weight_grid.scale).astype(np.float64)
        rows = layer.weights.reshape(len(layer.weights), -1).astype(np.float64)
        wide = np.broadcast_to(scale, len(rows)) if scale.size in (1, len(rows)) else scale.max()
        gain = float(((rows * np.reshape(wide, (-1, 1))) ** 2).sum(1).mean())
        read = float(inputs[0].scale)
        weights = rows.shape[1] * meter.read * read**2 * float((scale**2).mean())
        return _ROUNDED * (1 + (gain * read**2 + weights) / step**2)
    if operator.op_type in _SUMS:
        return _ROUNDED * (1 + sum(float(each.scale) ** 2 for each in inputs) / step**2)
    return None


def is_another(meter: OperatorMeter) -> bool:
    """Whether an operator gives other numbers, however it rounds: not one half of them is right.

    Small numbers, of which steps are a large part, tell nothing.
    """
    large = meter.noise > _STEPS**2 * meter.elements
    return meter.elements > 0 and large and 2 * meter.noise > meter.signal


def excess(meter: OperatorMeter, expected: float | None) -> tuple[float, float] | None:
    """How many times what rounding gives an operator is off: within its grid, and beyond it.

    None where that is not known.
    """
    if not meter.elements or expected is None:
        return None
    wanted = expected * meter.elements
    return (meter.noise - meter.clipped) / wanted, meter.clipped / wanted
