"""The range that follows both ends.

Zero is always a level, and the grid is Jacob et al.'s nudged one.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeq.training.quantizers.parts.fake_quant import fake_quantize
from edgeq.training.quantizers.tracked_range import TrackedRange, for_activation

ends = st.floats(-100, 100, width=32)


def trained(bits: int, *batches: list[float]) -> TrackedRange:
    made = for_activation(bits, signed=True)
    for batch in batches:
        made.train()(torch.tensor(batch))
    return made.eval()


@given(st.lists(ends, min_size=1, max_size=8), st.integers(2, 8))
def test_the_grid_is_the_nudged_one(batch: list[float], bits: int) -> None:
    """Jacob et al., Sec. 3.1: scale (max - min) / (2^b - 1) over a range that holds zero.

    The zero point rounded.
    """
    made = trained(bits, batch)
    low, high = min(0.0, *batch), max(0.0, *batch)
    scale = max(high - low, 2e-6) / (2**bits - 1)
    params = made.quant_params()
    assert float(params.scale) == pytest.approx(scale, rel=1e-6)
    assert int(params.zero_point) == pytest.approx(-low / scale, abs=0.5001)
    assert (params.dtype, params.qmin, params.qmax) == ("uint8", 0, 2**bits - 1)
    assert 0 <= int(params.zero_point) <= 2**bits - 1


@given(st.lists(ends, min_size=1, max_size=8), st.integers(2, 8))
def test_zero_is_exact_and_no_value_of_the_batch_far_off(batch: list[float], bits: int) -> None:
    made = trained(bits, batch)
    assert made(torch.zeros(3)).tolist() == [0, 0, 0]
    error = (made(torch.tensor(batch)) - torch.tensor(batch)).abs().max().item()
    assert error <= made.scale.item() * 1.001, (
        "half a step, and half of one by which the zero point was moved"
    )


def test_each_end_rises_at_once_and_decays_slowly() -> None:
    made = trained(8, [-1.0, 4.0], [-3.0, 2.0])
    assert made.least.item() == -3.0
    assert made.most.item() == pytest.approx(4.0 - 0.01 * 2.0)


def test_what_is_never_negative_has_its_zero_at_the_bottom() -> None:
    made = trained(8, [0.5, 4.0])
    assert int(made.quant_params().zero_point) == 0
    assert float(made.quant_params().scale) == np.float32(4.0) / np.float32(255)


def test_what_is_never_positive_has_it_at_the_top() -> None:
    assert int(trained(4, [-4.0, -1.0]).quant_params().zero_point) == 15


def test_evaluation_changes_nothing() -> None:
    made = trained(8, [-1.0, 1.0])
    made(torch.tensor([50.0]))
    assert made.most.item() == 1.0


def test_gradients_pass_inside() -> None:
    made = trained(8, [-1.0, 3.0])
    x = torch.tensor([-2.0, -0.5, 0.0, 2.0, 9.0], requires_grad=True)
    made(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


@given(st.lists(ends, min_size=1, max_size=8), st.integers(2, 16), st.booleans())
def test_values_and_gradients_are_those_of_the_fake_quantiser_of_the_grid(
    batch: list[float], bits: int, rounding: bool
) -> None:
    """Which takes the ends of the range as numbers, where training keeps them in tensors."""
    made = trained(bits, batch)
    made.rounding = rounding
    beyond = torch.tensor([*batch, *(1.5 * value for value in batch), 0.0])
    x, expected_x = beyond.clone().requires_grad_(), beyond.clone().requires_grad_()
    value = made(x)
    expected = fake_quantize(expected_x, made.scale, made.qmin, made.qmax, rounding=rounding)
    assert value.tolist() == expected.tolist()
    value.sum().backward()
    expected.sum().backward()
    assert x.grad is not None
    assert expected_x.grad is not None
    assert x.grad.tolist() == expected_x.grad.tolist()
