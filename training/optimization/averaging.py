"""A moving average of a network's weights, which often generalises better than the last ones.

Everything that is a real number is averaged: weights, clipping bounds, running statistics of
BatchNorm. The bound of tracked weights is their largest magnitude, which is convex: the averaged
bound is at least that of the averaged weights, so that none of them is clipped.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from edgeq.training.checkpoint import model_state

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import nn


class WeightAverage:
    """``average = d average + (1 - d) value`` after each step, with ``d`` small in the first ones.

    Args:
        model: whose tensors it follows.
        decay: ``d``; in step t it is at most ``(1 + t) / (10 + t)``, as in TensorFlow's
            ``ExponentialMovingAverage``.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = model
        self.decay = decay
        self.tensors = {name: tensor.clone() for name, tensor in model_state(model).items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the network after a step, counted from 0 over the whole run."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in model_state(self.model).items():
            if value.is_floating_point():
                self.tensors[name].lerp_(value, 1 - decay)
            else:
                self.tensors[name].copy_(value)

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on from the averages of a checkpoint."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the network be the average for a while."""
        values = {name: tensor.clone() for name, tensor in model_state(self.model).items()}
        _copy(self.model, self.tensors)
        try:
            yield
        finally:
            _copy(self.model, values)


@torch.no_grad()
def _copy(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    for name, tensor in model_state(model).items():
        tensor.copy_(tensors[name])
