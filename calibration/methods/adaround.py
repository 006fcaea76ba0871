"""AdaRound: learn for each weight whether it is rounded up or down."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from edgeq.calibration.methods.parts.correlation import correlation, groups_of
from edgeq.calibration.methods.parts.rounding import round_better
from edgeq.calibration.methods.parts.soft_rounding import SoftRounding, regularizer
from edgeq.errors import UsageError
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from numpy.typing import NDArray

    from edgeq.calibration.methods.parts.layer_function import LayerFunction
    from edgeq.calibration.methods.parts.layer_pairs import LayerPair, LayerPairs

    Error = Callable[[torch.Tensor], torch.Tensor]

_BATCH = 32
_POSITIONS = 2**13  # of a step's answers; large images need fewer of them
_SEED = 20200612
_MOST_CORRELATED = 2**24  # numbers: 64 MiB, a layer of 4,096 inputs


class AdaRound:
    """Rounds each weight up or down as is best for the layer's answer, instead of to nearest.

    Nagel et al., *Up or down? Adaptive rounding for post-training quantization* (2020), Eqs. 21 to
    25: ``W = s clip(floor(W / s) + h(V), n, p)`` with ``h(V) = clip(1.2 sigmoid(V) - 0.1, 0, 1)``,
    and V minimises the squared error of the layer's answer plus ``lambda sum(1 - |2 h - 1|^beta)``
    by Adam. Inputs are those of the quantised network, the target is the float layer's answer. The
    error of a layer is a quadratic form of its weights, so each step sees all samples; a layer of
    many inputs takes some samples a step instead. A channel that does not get better keeps its
    nearest integers.

    Args:
        steps: of Adam for each layer. The paper takes 10,000 at a rate of 0.001; 1,000 at 0.01 are
            enough for networks of this size.
        rate: of Adam.
        strength: lambda.

    Raises:
        UsageError: a setting with which nothing is learnt.
    """

    stage: ClassVar[Literal["integers"]] = "integers"

    def __init__(self, steps: int = 1000, rate: float = 1e-2, strength: float = 1e-2) -> None:
        check_learning("AdaRound", steps, rate, strength)
        self.steps, self.rate, self.strength = steps, rate, strength

    def apply(self, layers: LayerPairs) -> str:
        """Learn the rounding of all dense and convolutional layers."""
        changed, count = round_better(layers, self.learnt)
        return f"learnt the rounding of {counted(changed, 'layer', of=count)}"

    def learnt(
        self, layer: LayerPair, function: LayerFunction, target: NDArray[np.float32]
    ) -> NDArray[np.int32]:
        """The integers of one layer; see :func:`round_better`."""
        import torch

        rounding = SoftRounding(layer)
        error = _by_correlation(layer, target) or _by_samples(layer, function, target)
        optimizer = torch.optim.Adam([rounding.v], lr=self.rate)
        for step in range(self.steps):
            weight, up = rounding.weight()
            loss = error(weight) + self.strength * regularizer(up, step / self.steps)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return rounding.integers()


def _by_correlation(layer: LayerPair, target: NDArray[np.float32]) -> Error | None:
    """The mean error of all samples, less a constant; None for a layer of too many inputs.

    It costs as much as some thousand positions, and memory of the square of the inputs.
    """
    import torch

    size = layer.weight[0].size
    groups = groups_of(layer)
    if groups * size**2 > _MOST_CORRELATED:
        return None
    count = target.size // target.shape[1]  # of samples and positions
    hessian, wanted = (
        torch.from_numpy(each / count).float() for each in correlation(layer, target)
    )

    def error(weight: torch.Tensor) -> torch.Tensor:
        rows = weight.reshape(groups, -1, size)
        return (rows * (rows @ hessian - 2 * wanted)).sum()

    return error


def _by_samples(layer: LayerPair, function: LayerFunction, target: NDArray[np.float32]) -> Error:
    """The mean error of some samples, others each time."""
    import torch

    inputs, wanted = torch.from_numpy(layer.inputs), torch.from_numpy(target)
    random = np.random.default_rng(_SEED)
    positions = int(np.prod(target.shape[2:]))
    batch = min(len(inputs), _BATCH, max(4, _POSITIONS // positions))

    def error(weight: torch.Tensor) -> torch.Tensor:
        chosen = torch.from_numpy(random.integers(0, len(inputs), batch))
        return ((function(inputs[chosen], weight) - wanted[chosen]) ** 2).sum(1).mean()

    return error


def check_learning(name: str, steps: int, rate: float, strength: float) -> None:
    """Refuse settings with which rounding is not learnt.

    Raises:
        UsageError: they are such; says of which method.
    """
    if steps < 1 or not rate > 0 or not strength >= 0:
        raise UsageError(
            f"{name} learns nothing in {steps} steps at a rate of {rate} and a strength of "
            f"{strength}",
            hint="choose at least 1 step, a rate above 0 and a strength of at least 0",
        )
