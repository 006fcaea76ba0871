"""Quantisers of activations that are initialised from the first batch they see in training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch

from edgeq.training import distributed_stats
from edgeq.training.quantizers.parts.uniform import UniformGrid

if TYPE_CHECKING:
    from torch import Tensor


class FirstBatch(UniformGrid, ABC):
    """Waits for a training batch that says something (finite, and not all zeros), once.

    Args:
        bits: the width it is trained for.
        initialized: whether there is nothing to wait for, as for weights.
        options: of :class:`UniformGrid`.
    """

    initialized: Tensor

    def __init__(self, bits: int, *, initialized: bool, **options: Any) -> None:
        super().__init__(bits, **options)
        self.register_buffer("initialized", torch.tensor(initialized))

    @property
    def waits(self) -> bool:
        """Whether that batch is still to come."""
        return not bool(self.initialized)

    @abstractmethod
    def statistic(self, x: Tensor) -> Tensor:
        """A mean over a batch, float32, that the parameters start from; shape ()."""

    @abstractmethod
    def start_from(self, statistic: Tensor) -> None:
        """Set the parameters."""

    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantise; the first training batch gives the scale."""
        self.wait_for(x)
        return super().forward(x)

    @torch.no_grad()
    def wait_for(self, x: Tensor) -> None:
        """Initialise from ``x`` if that is still to be done and can be."""
        if not self.training or self.initialized:
            return
        found = distributed_stats.mean(self.statistic(x.detach().float()))
        if found.isfinite() and found > 0:
            self.start_from(found)
            self.initialized.fill_(True)
