"""AdaRound: learn for each weight whether it is rounded up or down."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from edgeq.calibration.methods.rounding import round_better
from edgeq.errors import UsageError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from edgeq.calibration.methods.layer_pairs import LayerPair, LayerPairs
    from edgeq.calibration.methods.rounding import LayerFunction

_ZETA, _GAMMA = 1.1, -0.1
_BATCH = 32
_POSITIONS = 2**13  # of a step's answers; large images need fewer of them
_WARM_UP = 0.2
_BETA = 20.0, 2.0
_SEED = 20200612


class AdaRound:
    """Rounds each weight up or down as is best for the layer's answer, instead of to nearest.

    Nagel et al., *Up or down? Adaptive rounding for post-training quantization* (2020), Eqs. 21 to
    25: ``W = s clip(floor(W / s) + h(V), n, p)`` with ``h(V) = clip(1.2 sigmoid(V) - 0.1, 0, 1)``,
    and V minimises the squared error of the layer's answer plus ``lambda sum(1 - |2 h - 1|^beta)``
    by Adam. Inputs are those of the quantised network, the target is the float layer's answer. A
    channel that does not get better keeps its nearest integers.

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
        if steps < 1 or not rate > 0 or not strength >= 0:
            raise UsageError(
                f"AdaRound learns nothing in {steps} steps at a rate of {rate} and a strength of "
                f"{strength}",
                hint="choose at least 1 step, a rate above 0 and a strength of at least 0",
            )
        self.steps, self.rate, self.strength = steps, rate, strength

    def apply(self, layers: LayerPairs) -> str:
        """Learn the rounding of all dense and convolutional layers."""
        changed, count = round_better(layers, self._learnt)
        return f"learnt the rounding of {changed} of {count} layers"

    def _learnt(
        self, layer: LayerPair, function: LayerFunction, target: NDArray[np.float32]
    ) -> NDArray[np.int32]:
        import torch

        scaled = layer.weight.astype(np.float64) / layer.scale
        floor, rest = np.floor(scaled), scaled - np.floor(scaled)
        v = torch.from_numpy(
            -np.log((_ZETA - _GAMMA) / (rest - _GAMMA) - 1.0).astype(np.float32)
        ).requires_grad_()
        lower = torch.from_numpy(floor.astype(np.float32))
        scale = torch.from_numpy(layer.scale.astype(np.float32))
        inputs, wanted = torch.from_numpy(layer.inputs), torch.from_numpy(target)
        optimizer = torch.optim.Adam([v], lr=self.rate)
        random = np.random.default_rng(_SEED)
        positions = int(np.prod(target.shape[2:]))
        batch = min(len(inputs), _BATCH, max(4, _POSITIONS // positions))
        for step in range(self.steps):
            chosen = torch.from_numpy(random.integers(0, len(inputs), batch))
            up = _rectified(v)
            weight = scale * (lower + up).clamp(layer.low, layer.high)
            error = function(inputs[chosen], weight) - wanted[chosen]
            loss = (error**2).sum(1).mean()
            beta = _annealed(step / self.steps)
            if beta is not None:
                loss = loss + self.strength * (1 - (2 * up - 1).abs() ** beta).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        rounded = lower + (v.detach() >= 0)
        return rounded.clamp(layer.low, layer.high).numpy().astype(np.int32)


def _rectified(v: torch.Tensor) -> torch.Tensor:
    """The rectified sigmoid h(V), Eq. 23."""
    return ((_ZETA - _GAMMA) * v.sigmoid() + _GAMMA).clamp(0, 1)


def _annealed(share: float) -> float | None:
    """Beta after a share of the steps; None while there is no regulariser."""
    if share < _WARM_UP:
        return None
    start, end = _BETA
    cosine = (1 + math.cos(math.pi * (share - _WARM_UP) / (1 - _WARM_UP))) / 2
    return end + (start - end) * cosine
