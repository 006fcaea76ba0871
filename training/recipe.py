"""Everything that decides the outcome of a training run, as data: the same recipe gives the same weights."""

from __future__ import annotations

import math
import tomllib
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from edgeq.errors import ArtefactError, UsageError
from edgeq.files import read_bytes
from edgeq.training.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


MOST_BITS = 24
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A training run. The defaults are the published ones of Ben-Yair et al. for CIFAR: SGD, cosine, bits annealed from 16.

    Attributes:
        model: a name of the model zoo.
        data: a data set's name or folder.
        scheme: the quantisation; None trains in FP32.
        epochs: passes over the training split.
        batch_size: samples a step.
        lr: the learning rate of the first epoch; a cosine takes it to zero.
        momentum: of SGD.
        weight_decay: on every parameter, clipping bounds and BatchNorm too, as published.
        anneal_from: width at the start of quantised training.
        seed: of initialisation, data order and augmentation.
        precision: of the training step: ``fp32``, or ``bf16`` for convolutions and matrix products in bfloat16; evaluation
            is always in float32.
        compiled: whether the training step goes through ``torch.compile``.
    """

    model: str
    data: str
    scheme: Scheme | None = None
    epochs: int = 200
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    anneal_from: int = 16
    seed: int = 0
    precision: Precision = "fp32"
    compiled: bool = False

    def __post_init__(self) -> None:
        for name in ("model", "data"):
            if not isinstance(getattr(self, name), str):
                raise UsageError(f"{name} is {getattr(self, name)!r}", mend="give its name in quotes")
        for name, least in (("epochs", 1), ("batch_size", 2), ("anneal_from", 2), ("seed", 0)):
            number = getattr(self, name)
            if type(number) is not int or number < least:
                raise UsageError(f"{name} is {number!r}", mend=f"choose a whole number, at least {least}")
        if self.anneal_from > MOST_BITS:
            raise UsageError(f"anneal_from is {self.anneal_from}", mend=f"choose at most {MOST_BITS}: float32 has no more levels")
        for name in ("lr", "momentum", "weight_decay"):
            if type(getattr(self, name)) not in (int, float) or not math.isfinite(getattr(self, name)):
                raise UsageError(f"{name} is {getattr(self, name)!r}", mend="give a number, without quotes")
        if self.precision not in get_args(Precision):
            raise UsageError(f"precision is {self.precision!r}", mend=f"choose {' or '.join(get_args(Precision))}")
        if type(self.compiled) is not bool:
            raise UsageError(f"compiled is {self.compiled!r}", mend="choose true or false")
        if self.lr <= 0:
            raise UsageError(f"lr is {self.lr}", mend="choose a learning rate above zero")
        if not (0 <= self.momentum < 1 and self.weight_decay >= 0):
            raise UsageError(
                f"momentum {self.momentum} or weight_decay {self.weight_decay} is out of range",
                mend="choose 0 <= momentum < 1, weight_decay >= 0",
            )

    @property
    def name(self) -> str:
        """``model scheme``, for tables."""
        return f"{self.model} {'FP32' if self.scheme is None else self.scheme.name}"

    def bits(self, epoch: int) -> int | None:
        """The width that holds in an epoch, or None where every quantiser is at its target.

        Published: 16 bits, one fewer every 10 of 200 epochs; shorter or longer runs keep these proportions, and the last
        epoch is at the target widths however short the run.
        """
        if self.scheme is None or epoch == self.epochs - 1:
            return None
        bits = self.anneal_from - epoch * 20 // self.epochs
        return bits if bits > min(self.scheme.weight_bits, self.scheme.act_bits) else None

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Recipe:
        """The inverse of :meth:`to_dict`.

        Raises:
            UsageError: a field is unknown, missing, of another type or out of range.
        """
        known = {field.name for field in fields(cls)}
        if unknown := set(content) - known:
            raise UsageError(f"a recipe has no field {', '.join(sorted(unknown))}", mend=f"use {', '.join(sorted(known))}")
        scheme = content.get("scheme")
        try:
            return cls(**{**content, "scheme": None if scheme is None else Scheme.from_dict(scheme)})
        except TypeError as error:
            raise UsageError(f"the recipe cannot be used: {error}", mend="give model and data, numbers as numbers") from error

    @classmethod
    def from_toml(cls, path: Path) -> Recipe:
        """Read a recipe; the table ``[scheme]`` holds the quantisation, without it training is FP32.

        Raises:
            ArtefactError: the file is missing or no TOML.
            UsageError: its fields are wrong.
        """
        try:
            content = tomllib.loads(read_bytes(path, "recipe", limit=1 << 20).decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ArtefactError(f"{path} is no TOML file: {error}", mend="mend the line it names") from error
        return cls.from_dict(content)
