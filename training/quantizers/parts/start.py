"""What a quantiser is initialised with.

A statistic of the weight, for the tensor or for each of its channels.
"""

from __future__ import annotations

import torch
from torch import Tensor


def spread(weight: Tensor, axis: int | None) -> Tensor:
    """The root mean square of a weight, or the one it will grow to.

    Shape () or (channels,), float32.
    """
    return _or_default(channels(weight.square(), axis).mean(1).sqrt(), weight, axis)


def magnitude(weight: Tensor, axis: int | None) -> Tensor:
    """The mean magnitude of a weight, or the one it will grow to.

    Shape () or (channels,), float32.
    """
    return _or_default(channels(weight.abs(), axis).mean(1), weight, axis)


def channels(x: Tensor, axis: int | None) -> Tensor:
    """One row for each channel, or one row in all."""
    return x.reshape(1, -1) if axis is None else x.movedim(axis, 0).flatten(1)


def _or_default(found: Tensor, weight: Tensor, axis: int | None) -> Tensor:
    """A weight of zeros has no scale yet.

    With a scale of next to nothing all it ever becomes would be clipped away.

    It gets half the bound of PyTorch's own uniform initialisation, ``1 / sqrt(fan in)``.
    """
    usable = torch.isfinite(found) & (found > 0)
    statistic = torch.where(usable, found, 0.5 / max(weight[:1].numel(), 1) ** 0.5)
    return (statistic[0] if axis is None else statistic).detach().float()
