"""Ternary weights: a learned clip at two bits, with a gradient beyond the bound too."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.support.checks.quantizers import gradients, weight

from edgeq.training.quantizers.learned_clip import LearnedClip
from edgeq.training.quantizers.ternary import Ternary, for_weight

values = hnp.arrays(np.float32, st.integers(1, 64), elements=st.floats(-100, 100, width=32))


def ternary(bound: float = 2.0) -> Ternary:
    return Ternary(2, signed=True, narrow_range=True, bound=bound)


@given(values, st.floats(0.125, 64, width=32))
def test_the_value_is_the_released_formula(x: np.ndarray, alpha: float) -> None:
    position = np.clip(x.astype(np.float64) / alpha, -1, 1)
    tie = np.abs(np.abs(position) - 0.5) < 1e-6
    found = ternary(alpha)(torch.from_numpy(x)).detach().numpy()
    assert (np.abs(found - alpha * np.rint(position)) <= np.where(tie, alpha, 0)).all()
    same = (
        LearnedClip(2, signed=True, narrow_range=True, bound=alpha)(torch.from_numpy(x))
        .detach()
        .numpy()
    )
    assert np.array_equal(found, same)


def test_gradients_on_every_branch() -> None:
    made = ternary(2.0)
    by_x, by_alpha = gradients(
        made, made.alpha, [-99.0, -2.0, -1.2, -0.4, 0.0, 0.8, 1.6, 2.0, 99.0]
    )
    assert by_x.tolist() == [1] * 9, "not clipped"
    inside = [-1 + 0.6, 0 + 0.2, 0, 0 - 0.4, 1 - 0.8]
    torch.testing.assert_close(
        by_alpha, torch.tensor([-1, -1, *inside, 1, 1], dtype=torch.float32), atol=1e-6, rtol=0
    )


def test_without_rounding_it_clips() -> None:
    made = ternary(2.0)
    made.rounding = False
    assert made(torch.tensor([-9.0, 0.3, 9.0])).tolist() == [-2.0, torch.tensor(0.3).item(), 2.0]


def test_the_start() -> None:
    assert for_weight(2, weight(), axis=None, normalized=True).alpha.item() == 3.0
    each = for_weight(2, weight(), axis=0, normalized=False)
    torch.testing.assert_close(each.alpha.detach(), 3 * weight().square().mean((1, 2, 3)).sqrt())
