"""The networks by the name a user types, and the published configurations that the layouts are held against.

``resnet56`` has projection shortcuts (option B of He et al.); the suffix ``-a`` means the parameter-free shortcut of
option A. ``stable-resnet56`` is the symmetric network. This module imports no torch, so that a listing is fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

from edgeq.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from torch import nn

    from edgeq.models.resnet import Shortcut

Family = Literal["resnet", "resnet-a", "stable-resnet"]

_HE = "He, Zhang, Ren, Sun, Deep residual learning for image recognition, 2016, Table 6"
_BEN_YAIR = "Ben-Yair, Eliasof, Treister, Quantized convolutional neural networks through the lens of partial differential equations, 2022"
_CIFAR_SHAPE = (3, 32, 32)


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A network that can be built by name.

    Attributes:
        name: what the user types.
        family: which layout.
        depth: layers with weights along the longest path; 6n + 2 for n blocks a stage.
        summary: one line for people.
    """

    name: str
    family: Family
    depth: int
    summary: str

    @property
    def blocks(self) -> int:
        """How many blocks a stage has."""
        return (self.depth - 2) // 6


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A published configuration, with what our network of that name really has.

    Attributes:
        name: the name to build it by.
        family: which layout.
        classes: how many outputs.
        input_shape: channels, height and width of the published images.
        params: trainable numbers, counted on the built network, shared ones once.
        macs: multiply-accumulates for one image, counted by running the network.
        published_params: the count as the source prints it, in millions.
        source: where it is printed.
    """

    name: str
    family: Family
    classes: int
    input_shape: tuple[int, int, int]
    params: int
    macs: int
    published_params: str
    source: str


def _entries() -> dict[str, ModelEntry]:
    resnets = [ModelEntry(f"resnet{n}", "resnet", n, f"ResNet-{n} with 1x1 projection shortcuts") for n in (8, 20, 32, 44, 56)]
    padded = [ModelEntry(f"resnet{n}-a", "resnet-a", n, f"ResNet-{n} with zero-padded shortcuts (option A)") for n in (8, 20, 32, 44, 56)]
    stable = [ModelEntry(f"stable-resnet{n}", "stable-resnet", n, f"symmetric ResNet-{n}, half the weights") for n in (8, 20, 56)]
    return {entry.name: entry for entry in (*resnets, *padded, *stable)}


_ENTRIES = _entries()
_PUBLISHED: tuple[tuple[str, int, str, str], ...] = (
    ("resnet20-a", 10, "0.27", _HE),
    ("resnet32-a", 10, "0.46", _HE),
    ("resnet44-a", 10, "0.66", _HE),
    ("resnet56-a", 10, "0.85", _HE),
    ("resnet56", 10, "0.85", f"{_BEN_YAIR}, Table 1"),
    ("stable-resnet56", 10, "0.41", f"{_BEN_YAIR}, Table 1"),
    ("resnet56", 100, "0.86", f"{_BEN_YAIR}, Table 2"),
    ("stable-resnet56", 100, "0.41", f"{_BEN_YAIR}, Table 2"),
)


def names() -> list[str]:
    """Every name that :func:`build` knows, family by family, the smaller first."""
    return list(_ENTRIES)


def describe(name: str) -> ModelEntry:
    """What a name stands for; builds nothing.

    Raises:
        UnknownName: there is no such network.
    """
    if name not in _ENTRIES:
        raise UnknownName("model", name, _ENTRIES)
    return _ENTRIES[name]


def build(name: str, *, classes: int, in_channels: int = 3) -> nn.Module:
    """A freshly initialised float network, in training mode; random by torch's global generator.

    Args:
        name: one of :func:`names`.
        classes: how many outputs.
        in_channels: of the image; 1 for grey, 3 for colour.

    Raises:
        UnknownName: there is no such network.
        UsageError: fewer than one class or channel.
    """
    entry = describe(name)
    if classes < 1 or in_channels < 1:
        raise UsageError(f"{name} cannot have {classes} classes and {in_channels} input channels", mend="give 1 or more of each")
    if entry.family == "stable-resnet":
        from edgeq.models.stable_resnet import StableResNet

        return StableResNet(entry.blocks, classes=classes, in_channels=in_channels)
    from edgeq.models.resnet import ResNet

    shortcut: Shortcut = "projection" if entry.family == "resnet" else "pad"
    return ResNet(entry.blocks, classes=classes, in_channels=in_channels, shortcut=shortcut)


@cache
def published() -> tuple[ModelSpec, ...]:
    """Every published configuration, built without memory for its weights and counted; imports torch."""
    return tuple(_count(*row) for row in _PUBLISHED)


def _count(name: str, classes: int, printed: str, source: str) -> ModelSpec:
    import torch

    from edgeq.models.macs import count_macs, count_parameters

    with torch.device("meta"):
        network = build(name, classes=classes, in_channels=_CIFAR_SHAPE[0])
    macs = sum(count_macs(network, _CIFAR_SHAPE).values())
    return ModelSpec(name, describe(name).family, classes, _CIFAR_SHAPE, count_parameters(network), macs, printed, source)
