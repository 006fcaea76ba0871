"""How much of an operator's error rounding explains, given the float network's values.

A value that is rounded to a step ``s`` is off by ``s^2 / 12`` in the mean square. An operator adds
up what its inputs and weights are off by, each times what it multiplies them by:

    E[e^2] = s_y^2 / 12 + sum_k w_k^2 s_x^2 / 12 + sum_k E[x_k^2] s_w^2 / 12
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.deploy.why.measure import OperatorMeter
    from edgeq.diffing.replay import Operator
    from edgeq.linting.model import LintLayer
    from edgeq.quant import QuantParams

_ROUNDED = 1 / 12
_STEPS = 5
"""Root of the mean squared error, in steps, below which numbers are too near each other to tell."""
_SLOPES: Mapping[str, float] = {
    **dict.fromkeys(
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
            "Requantize",
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
        ),
        1.0,
    ),
    **dict.fromkeys(
        ("Abs", "Neg", "LeakyRelu", "PRelu", "Elu", "Softplus", "Softmax", "Tanh"), 1.0
    ),
    **dict.fromkeys(("ABS", "NEG", "LEAKY_RELU", "PRELU", "ELU", "SOFTMAX", "TANH"), 1.0),
    **dict.fromkeys(("Sigmoid", "LOGISTIC", "HardSigmoid"), 0.25),
    **dict.fromkeys(("Gelu", "GELU", "Erf", "Swish", "Mish"), 1.13),
    **dict.fromkeys(("HardSwish", "HARD_SWISH"), 1.5),
}
"""By how much operators multiply each of their inputs at most, of those of which that is known."""


@dataclass(frozen=True, slots=True)
class Noise:
    """What rounding gives the operators of a file, given a float network's values.

    Attributes:
        operators: by the tensor that they compute.
        meters: of those whose results the float network has.
        grids: of the tensors.
    """

    operators: Mapping[str, Operator]
    meters: Mapping[str, OperatorMeter]
    grids: Mapping[str, QuantParams]

    def of(self, name: str, layer: LintLayer | None) -> float | None:
        """The mean squared error of an operator, in squared steps of its result.

        Args:
            name: the tensor that it computes.
            layer: its weights; None for none.

        Returns:
            None where that is not known.
        """
        operator = self.operators[name]
        step = self._step(name)
        if step is None or not operator.alone:
            return None
        if layer is not None and layer.weights is not None and layer.weight_grid is not None:
            read = self._step(operator.inputs[0]) if len(operator.inputs) == 1 else None
            entering = None if read is None else self._entering(operator.inputs[0], cut=False)
            if read is None or entering is None:
                return None
            scale = np.atleast_1d(layer.weight_grid.scale).astype(np.float64)
            rows = layer.weights.reshape(len(layer.weights), -1).astype(np.float64)
            wide = (
                np.broadcast_to(scale, len(rows)) if scale.size in (1, len(rows)) else scale.max()
            )
            gain = float(((rows * np.reshape(wide, (-1, 1))) ** 2).sum(1).mean())
            weights = rows.shape[1] * self.meters[name].read * read**2 * float((scale**2).mean())
            return _ROUNDED + (gain * entering + _ROUNDED * weights) / step**2
        entering = self._passed_on(operator)
        return None if entering is None else _ROUNDED + entering / step**2

    def _entering(self, name: str, *, cut: bool) -> float | None:
        """The mean squared error of what an operator reads, in real units.

        Of a tensor that the float network does not have, as one that is put on another grid twice,
        it is that of all operators since the last one that it has.
        """
        step, operator = self._step(name), self.operators.get(name)
        if step is None:
            return None
        if name in self.meters or operator is None or name in operator.inputs:
            beyond = self.meters[name].cut_off if cut and name in self.meters else 0.0
            return (_ROUNDED + beyond) * step**2
        before = self._passed_on(operator)
        return None if before is None else _ROUNDED * step**2 + before

    def _passed_on(self, operator: Operator) -> float | None:
        """What becomes of the error of what an operator reads, also of what grids cut off."""
        slope = _SLOPES.get(operator.op_type)
        if slope is None or not operator.alone:
            return None
        found = [self._entering(name, cut=True) for name in operator.inputs]
        known = [each for each in found if each is not None]
        return slope**2 * sum(known) if len(known) == len(found) else None

    def _step(self, name: str) -> float | None:
        grid = self.grids.get(name)
        return None if grid is None or grid.axis is not None else float(grid.scale)


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
