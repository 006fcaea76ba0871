"""Everything that decides the outcome of a training run, as data.

The same recipe gives the same weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from edgeq.data import Augmentation
from edgeq.errors import UsageError
from edgeq.network.checks import (
    check_choice,
    check_count,
    check_flag,
    check_number,
    check_text,
    read_record,
)
from edgeq.training.recipes.any_recipe import AnyRecipe
from edgeq.training.recipes.optimization import Group, Optimizer, Schedule
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MOST_BITS = 24
_MOMENTUM = 0.9
_SGD, _COSINE = Optimizer(), Schedule()
_SHARES = {  # numbers that are not below zero, and their upper limits
    "lr": math.inf,
    "momentum": 1,
    "weight_decay": math.inf,
    "bound_penalty": math.inf,
    "ema": 1,
    "distillation": 1,
    "temperature": math.inf,
    "consistency": math.inf,
}
Precision = Literal["fp32", "bf16"]
Loss = Literal["cross-entropy", "squared-hinge"]


@dataclass(frozen=True, slots=True)
class Recipe(AnyRecipe):
    """A training run. The defaults are the published ones of Ben-Yair et al.

    For CIFAR: SGD, cosine, bits annealed from 16.

    Attributes:
        model: a name of the model zoo.
        data: a data set's name or folder.
        scheme: the quantisation; None trains in FP32.
        epochs: passes over the training split.
        batch_size: samples a step.
        lr: the learning rate of the first epoch.
        momentum: of SGD and RMSProp.
        weight_decay: on every parameter that is in no group with its own, clipping bounds and
            BatchNorm too, as published.
        anneal_from: width at the start of quantised training; a width that is not above the target
            leaves annealing out.
        seed: of initialisation, data order and augmentation.
        precision: of the training step: ``fp32``, or ``bf16`` for convolutions and matrix products
            in bfloat16; evaluation is always in float32.
        compiled: whether the training step goes through ``torch.compile``.
        optimizer: which one, and its constants.
        schedule: what becomes of the learning rates.
        groups: parameters with a learning rate or weight decay of their own; the first that fits a
            parameter holds.
        loss: ``cross-entropy``, or the ``squared-hinge`` of BinaryConnect.
        bound_penalty: PACT's, times the sum of the squared bounds of activations (Choi et al.,
            2018, Sec. 3.2).
        augmentation: of training images; None takes the data set's own.
        init_from: a checkpoint whose weights, and bounds where both have them, training starts
            from; None starts at random.
        ema: decay of the moving average of the weights that is evaluated and kept; 0 keeps the
            weights themselves.
        teacher: the checkpoint of a network whose answers are learnt beside the labels.
        distillation: the teacher's share of the loss.
        temperature: what its and our logits are divided by.
        consistency: weight of the mean squared difference between block outputs with and without
            rounded activations.
    """

    scheme: Scheme | None = None
    epochs: int = 200
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = _MOMENTUM
    weight_decay: float = 1e-4
    anneal_from: int = 16
    seed: int = 0
    precision: Precision = "fp32"
    compiled: bool = False
    optimizer: Optimizer = _SGD
    schedule: Schedule = _COSINE
    groups: tuple[Group, ...] = ()
    loss: Loss = "cross-entropy"
    bound_penalty: float = 0.0
    augmentation: Augmentation | None = None
    init_from: str | None = None
    ema: float = 0.0
    teacher: str | None = None
    distillation: float = 0.5
    temperature: float = 4.0
    consistency: float = 0.0

    def __post_init__(self) -> None:
        for name in ("model", "data", "init_from", "teacher"):
            if name in ("model", "data") or getattr(self, name) is not None:
                check_text(name, getattr(self, name))
        for name, least in (("epochs", 1), ("batch_size", 2), ("anneal_from", 2), ("seed", 0)):
            check_count(name, getattr(self, name), least)
        if self.anneal_from > MOST_BITS:
            raise UsageError(
                f"anneal_from is {self.anneal_from}",
                hint=f"choose at most {MOST_BITS}: float32 has no more levels",
            )
        for name, most in _SHARES.items():
            check_number(name, getattr(self, name), 0, most)
        if self.lr <= 0:
            raise UsageError(f"lr is {self.lr}", hint="choose a learning rate above zero")
        if self.temperature <= 0 or max(self.momentum, self.ema) >= 1:
            raise UsageError(
                f"momentum {self.momentum}, ema {self.ema} or temperature "
                f"{self.temperature} is out of range",
                hint="choose momentum and ema below 1, a temperature above 0",
            )
        check_choice("precision", self.precision, Precision)
        check_choice("loss", self.loss, Loss)
        if self.augmentation is not None:
            check_choice("augmentation", self.augmentation, Augmentation)
        check_flag("compiled", self.compiled)
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.scheme is None and (self.bound_penalty or self.consistency):
            raise UsageError(
                "bound_penalty and consistency are about quantisers, and FP32 training has none",
                hint="leave them out",
            )
        if self.consistency and self.compiled:
            raise UsageError(
                "consistency looks inside the network, where torch.compile lets nobody",
                hint="leave out one of them",
            )
        if self.optimizer.name == "adam" and self.momentum != _MOMENTUM:
            raise UsageError(
                f"momentum is {self.momentum}, and Adam has none", hint="give betas in [optimizer]"
            )

    def bits(self, epoch: int) -> int | None:
        """The width that holds in an epoch, or None where every quantiser is at its target.

        Published: 16 bits, one fewer every 10 of 200 epochs; shorter or longer runs keep these
        proportions, and the last epoch is at the target widths however short the run.
        """
        if self.scheme is None or epoch == self.epochs - 1:
            return None
        bits = self.anneal_from - epoch * 20 // self.epochs
        return bits if bits > self.scheme.least_bits else None

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`.

        Raises:
            UsageError: a field is unknown, missing, of another type or out of range.
        """
        values = dict(content)
        values.pop("calibration", None)  # of the scheme of a search: training has its own ranges
        for name, read in _TABLES.items():
            if name in values:
                values[name] = read(values[name])
        return read_record(cls, values, "a recipe")


def _groups(content: object) -> tuple[Group, ...]:
    if not isinstance(content, list | tuple):
        raise UsageError(f"groups is {content!r}", hint="give each group as a table [[groups]]")
    return tuple(read_record(Group, group, "groups") for group in content)


_TABLES: Mapping[str, Callable[[Any], Any]] = {
    "scheme": lambda content: None if content is None else Scheme.from_dict(content),
    "optimizer": lambda content: read_record(Optimizer, content, "optimizer"),
    "schedule": lambda content: read_record(Schedule, content, "schedule"),
    "groups": _groups,
}
"""What becomes of the tables of a file."""
