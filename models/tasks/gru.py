"""A recurrent denoiser: features of each step go through a GRU, and a gate for each comes out.

In the manner of RNNoise (Valin, *A hybrid DSP/deep learning approach to real-time full-band speech
enhancement*, 2018): gates in [0, 1], one for each feature, that the noisy features are multiplied
by.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GruDenoiser(nn.Module):
    """The network.

    Args:
        classes: features of a step.
        in_channels: of the strip, 1.
        width: of the recurrent state.
    """

    def __init__(self, *, classes: int, in_channels: int = 1, width: int = 32) -> None:
        super().__init__()
        del in_channels
        self.enter, self.relu = nn.Linear(classes, width), nn.ReLU()
        self.gru = nn.GRU(width, width, batch_first=True)
        self.leave, self.gate = nn.Linear(width, classes), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, steps, features), noisy, to (n, steps, features), clean."""
        noisy = torch.flatten(x, 1, 2)
        state, _ = self.gru(self.relu(self.enter(noisy)))
        clean: Tensor = noisy * self.gate(self.leave(state))
        return clean
