"""How weights are moved, as data.

The optimiser, the schedule of its learning rate, and groups of parameters with their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from edgeq.errors import UsageError
from edgeq.network.checks import check_choice, check_number

OptimizerName = Literal["sgd", "adam", "rmsprop"]
ScheduleName = Literal["cosine", "step", "exponential", "constant"]
GROUPS = ("weight-bounds", "act-bounds", "norms", "biases")


@dataclass(frozen=True, slots=True)
class Optimizer:
    """An optimiser and what it has beside the recipe's learning rate, momentum and weight decay.

    Attributes:
        name: ``sgd``, ``adam`` or ``rmsprop``; the last is TensorFlow's, see
            :mod:`edgeq.training.optimization.rmsprop`.
        decay: of RMSProp's mean square.
        betas: the decays of Adam's two means.
        epsilon: Adam's beside the root, RMSProp's inside it.
    """

    name: OptimizerName = "sgd"
    decay: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_choice("optimizer", self.name, OptimizerName)
        check_number("decay", self.decay, 0, 1)
        if not isinstance(self.betas, tuple) or len(self.betas) != 2:
            raise UsageError(
                f"betas is {self.betas!r}", hint="give two numbers, such as [0.9, 0.999]"
            )
        for beta in self.betas:
            check_number("betas", beta, 0, 1 - 1e-12)
        check_number("epsilon", self.epsilon, 1e-30)


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a learning rate is multiplied by in each epoch.

    Attributes:
        name: ``cosine`` (to zero at the end of the run), ``step`` (by ``factor`` at each of
            ``at``), ``exponential`` (by ``factor`` in each epoch) or ``constant``.
        factor: of steps and of the exponential.
        at: where the steps are, as shares of the run, so that a shorter run keeps the proportions:
            150 and 225 of 300 epochs are 0.5 and 0.75.
    """

    name: ScheduleName = "cosine"
    factor: float = 0.1
    at: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_choice("schedule", self.name, ScheduleName)
        check_number("factor", self.factor, 1e-12, 1)
        if not isinstance(self.at, tuple):
            raise UsageError(
                f"at is {self.at!r}", hint="give shares of the run, such as [0.5, 0.75]"
            )
        for share in self.at:
            check_number("at", share, 0, 1)
        if bool(self.at) != (self.name == "step"):
            raise UsageError(
                f"a {self.name} schedule with at = {list(self.at)}",
                hint='give "at" with name = "step", and only there',
            )

    def multiplier(self, epoch: int, epochs: int) -> float:
        """The share of the first epoch's learning rate that holds in an epoch, counted from 0."""
        match self.name:
            case "cosine":
                return (1 + math.cos(math.pi * epoch / epochs)) / 2
            case "step":
                return float(
                    self.factor ** sum(epoch >= round(share * epochs) for share in self.at)
                )
            case "exponential":
                return float(self.factor**epoch)
            case "constant":
                return 1.0


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters with a learning rate or a weight decay of their own.

    The schedule holds for them too.

    Attributes:
        of: ``weight-bounds`` or ``act-bounds`` (what quantisers learn), ``norms``, ``biases``, or a
            pattern of parameter names such as ``stem.*``.
        lr: its learning rate in the first epoch; None takes the recipe's.
        weight_decay: None takes the recipe's.
    """

    of: str
    lr: float | None = None
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.of, str) or not self.of:
            raise UsageError(
                f"a group is of {self.of!r}",
                hint=f"name {', '.join(GROUPS)}, or a pattern such as 'stem.*'",
            )
        if self.lr is not None:
            check_number(f"lr of {self.of}", self.lr, 0)
        if self.weight_decay is not None:
            check_number(f"weight_decay of {self.of}", self.weight_decay, 0)
