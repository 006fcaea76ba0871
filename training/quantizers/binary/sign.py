"""The sign of binary networks, of which zero has one too."""

from __future__ import annotations

import torch
from torch import Tensor


def signs(x: Tensor) -> Tensor:
    """+1 from zero on, else -1, in the dtype of ``x``.

    What is not a number stays so, lest a diverged run look sound.
    """
    return torch.where(x >= 0, 1.0, torch.where(x < 0, -1.0, x)).to(x.dtype)
