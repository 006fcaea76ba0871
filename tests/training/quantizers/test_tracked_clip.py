"""The quantiser that follows the largest magnitude.

At once up, slowly down, and not at all in evaluation.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeq.training.quantizers.tracked_clip import TrackedClip


def clip(bound: float = 0.0, decay: float = 0.01) -> TrackedClip:
    return TrackedClip(8, signed=True, bound=bound, decay=decay)


def test_it_rises_at_once() -> None:
    tracked = clip(1.0)
    tracked(torch.tensor([0.5, -7.0]))
    assert tracked.alpha.item() == 7.0


def test_it_decays_by_a_share_of_the_way_down() -> None:
    tracked = clip(5.0, decay=0.1)
    tracked(torch.tensor([1.0]))
    assert tracked.alpha.item() == pytest.approx(4.6)


def test_full_decay_is_the_maximum_of_each_batch() -> None:
    tracked = clip(5.0, decay=1.0)
    for largest in (0.25, 9.0, 3.0):
        tracked(torch.tensor([largest / 2, -largest]))
        assert tracked.alpha.item() == largest


@given(
    st.lists(st.floats(0.125, 100, width=32), min_size=1, max_size=20), st.floats(0, 1, width=32)
)
def test_no_value_of_the_batch_is_clipped(batch: list[float], decay: float) -> None:
    tracked = clip(decay=decay)
    for x in batch:
        y = tracked(torch.tensor([x, -x]))
        assert tracked.alpha.item() >= np.float32(x)
        assert abs(y[0].item() - x) <= tracked.scale.item() / 2 * (1 + 1e-5)


def test_evaluation_changes_nothing() -> None:
    tracked = clip(1.0).eval()
    assert tracked(torch.tensor([9.0])).item() == pytest.approx(1.0)
    assert tracked.alpha.item() == 1.0


def test_the_bound_is_saved_but_not_trained() -> None:
    tracked = clip(2.0)
    assert list(tracked.parameters()) == []
    assert tracked.state_dict()["alpha"].item() == 2.0


def test_gradients_pass_inside_and_none_reaches_the_bound() -> None:
    tracked = clip(1.0).eval()
    x = torch.tensor([0.5, 3.0], requires_grad=True)
    tracked(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 0.0]
    assert tracked.alpha.grad is None


def test_in_training_the_gradient_of_the_largest_value_passes_too() -> None:
    x = torch.tensor([0.5, -3.0, 0.0], requires_grad=True)
    clip(1.0)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0, 1.0]


def test_training_computes_what_evaluation_does() -> None:
    tracked, x = clip(1.0), torch.linspace(-3, 2, 101)
    assert torch.equal(tracked(x), tracked.eval()(x))


def test_a_tensor_of_zeros_makes_a_grid_all_the_same() -> None:
    tracked = clip()
    assert tracked(torch.zeros(3)).tolist() == [0, 0, 0]
    assert tracked.quant_params().scale > 0
