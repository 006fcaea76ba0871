"""What quantisers do to weights after an optimiser step, such as clipping to [-1, 1]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgeq.training.layers import QuantLayer

if TYPE_CHECKING:
    from torch import nn


@torch.no_grad()
def post_optimizer_step(model: nn.Module) -> None:
    """Call the quantiser of each weight after an optimiser step.

    Some methods project weights into a range here; the others do nothing. A weight that layers
    share is visited once.

    Args:
        model: a quantised network.
    """
    done: set[int] = set()
    for layer in model.modules():
        if isinstance(layer, QuantLayer) and id(layer.layer.weight) not in done:
            done.add(id(layer.layer.weight))
            layer.quantizer.clip.post_optimizer_step(layer.layer.weight)
