"""Bounds that are fitted to the first batch, and how fast they learn."""

from __future__ import annotations

import torch

from edgeq.training.quantizers.fitted import Fitted


def test_clipped_values_move_the_bound_as_fast_at_every_width_of_training() -> None:
    """Annealing begins at 16 bits; a bound that moves faster there is gone in some steps."""
    x = torch.full((2, 8), 3.0)
    found = []
    for bits in (4, 8, 16):
        clip = Fitted(4, signed=False).train()
        clip.alpha.data.fill_(1.0)
        clip.bits = bits
        torch.autograd.backward(clip(x).sum())
        found.append(float(clip.alpha.grad) if clip.alpha.grad is not None else 0.0)
    assert found[0] > 0
    torch.testing.assert_close(found, found[:1] * 3)
