"""Measures how far rounded activations move block outputs, so that the loss can limit it.

The figure is the one of :mod:`edgeq.training.activation_error`, the MSE "4A -> 32A" by which
Ben-Yair et al. compare networks. They only measure it; to train on it is our own addition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx, nn

from edgeq.errors import UsageError
from edgeq.training.activation_error import block_outputs, record
from edgeq.training.qat_transform import set_rounding

if TYPE_CHECKING:
    from collections.abc import Iterable


class Consistent(nn.Module):
    """Returns the logits and the mean squared difference that rounded activations make per block.

    The outputs without rounding are what those with it are drawn to: no gradient passes through
    them, and running statistics and bounds do not follow them.

    Args:
        model: a quantised network with residual blocks; used, not copied.

    Raises:
        UsageError: it has none.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        outputs = block_outputs(model) if isinstance(model, fx.GraphModule) else []
        if not outputs or not isinstance(model, fx.GraphModule):
            raise UsageError(
                "consistency compares the outputs of residual blocks, and the network has none",
                hint="leave it out",
            )
        self.model = model
        self.names = [node.name for node in outputs]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(n, channels, height, width) to logits (n, classes) and the difference, shape ()."""
        wanted = self._unrounded(images)
        found, logits = record(self.model, images, self.names)
        differences = [
            (found[name].float() - wanted[name].float()).square().mean() for name in self.names
        ]
        return logits, torch.stack(differences).mean()

    @torch.no_grad()
    def _unrounded(self, images: Tensor) -> dict[str, Tensor]:
        before = [buffer.clone() for buffer in self.model.buffers()]
        set_rounding(self.model, weights=True, activations=False)
        try:
            found, _ = record(self.model, images, self.names)
        finally:
            set_rounding(self.model, weights=True, activations=True)
            _put_back(self.model.buffers(), before)
        return found


def _put_back(buffers: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    for buffer, value in zip(buffers, values, strict=True):
        buffer.copy_(value)
