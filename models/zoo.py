"""The networks by name: what there is, and how to build one.

``resnet56`` has projection shortcuts (option B of He et al.); the suffix ``-a`` means the
parameter-free shortcut of option A. ``stable-`` is a symmetric network, ``-certified`` one whose
steps are held so small that they provably do not expand. This module imports no torch, so that a
listing is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from edgeq.errors import UnknownName, UsageError
from edgeq.models.catalogue import ENTRIES, ModelEntry, ModelSpec
from edgeq.models.published import PUBLISHED

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ModelEntry", "ModelSpec", "build", "describe", "image_names", "names", "published"]

_DEFAULT_SIZE = (32, 32)


def names() -> list[str]:
    """Every name that :func:`build` knows, family by family, the smaller first."""
    return list(ENTRIES)


def image_names() -> list[str]:
    """The names of those that classify images."""
    return [
        name for name, entry in ENTRIES.items() if entry.reads == "images" and entry.task == "top1"
    ]


def describe(name: str) -> ModelEntry:
    """What a name stands for; builds nothing.

    Raises:
        UnknownName: there is no such network.
    """
    if name not in ENTRIES:
        raise UnknownName("model", name, ENTRIES)
    return ENTRIES[name]


def build(
    name: str,
    *,
    classes: int,
    in_channels: int = 3,
    image_size: tuple[int, int] | None = None,
    **options: object,
) -> nn.Module:
    """A freshly initialised float network, in training mode; random by torch's global generator.

    Args:
        name: one of :func:`names`.
        classes: how many outputs.
        in_channels: of the image: 1 for grey, 3 for colour; features of a node for a graph network.
        image_size: height and width; only fully connected layers behind an image depend on it, for
            which 32 x 32 is the default, but where it is given it is held against what the network
            needs.
        options: of the network's own class, in place of its defaults.

    Raises:
        UnknownName: there is no such network.
        UsageError: fewer than one class or channel, or an image that the network leaves nothing of.
    """
    entry = describe(name)
    if classes < 1 or in_channels < 1:
        raise UsageError(
            f"{name} cannot have {classes} classes and {in_channels} input channels",
            hint="give 1 or more of each",
        )
    if image_size is not None and min(image_size) < entry.least_size:
        raise UsageError(
            f"{name} cannot take images of {image_size[0]} x {image_size[1]} pixels",
            hint=f"use images of at least {entry.least_size} pixels a side, or another network",
        )
    module, _, function = entry.factory.partition(":")
    size = {"image_size": image_size or _DEFAULT_SIZE} if entry.sized else {}
    factory = getattr(import_module(module), function)
    return cast(
        "nn.Module",
        factory(**{**entry.options, **options}, classes=classes, in_channels=in_channels, **size),
    )


def published() -> tuple[ModelSpec, ...]:
    """Every published configuration; builds nothing."""
    return PUBLISHED
