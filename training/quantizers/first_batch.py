"""Quantisers of activations that are initialised from the first batch they see in training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch

from edgeq.training.quantizers.uniform import UniformGrid

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

    @abstractmethod
    def start_from(self, x: Tensor) -> None:
        """Set the parameters from a batch, float32."""

    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantise; the first training batch gives the step."""
        self.wait_for(x)
        return super().forward(x)

    @torch.no_grad()
    def wait_for(self, x: Tensor) -> None:
        """Initialise from ``x`` if that is still to be done and can be."""
        if self.training and not self.initialized and x.any() and x.isfinite().all():
            self.start_from(x.float())
            self.initialized.fill_(True)
