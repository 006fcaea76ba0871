"""RMSProp against its closed form, with the epsilon that sets it apart from PyTorch's."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgeq.training.optimization.rmsprop import RMSProp

gradients = st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=8)
shares = st.floats(0, 0.99)


@settings(max_examples=40)
@given(gradients, shares, shares, st.floats(1e-3, 2.0), st.floats(1e-3, 0.1), st.floats(0, 0.1))
def test_it_is_the_closed_form(
    found: list[float],
    decay: float,
    momentum: float,
    epsilon: float,
    lr: float,
    weight_decay: float,
) -> None:
    """The k-th step is the sum over j of momentum^(k-j) lr g_j / sqrt(ms_j + eps)."""
    parameter = nn.Parameter(torch.tensor([0.5], dtype=torch.float64))
    optimizer = RMSProp(
        [parameter], lr, decay=decay, momentum=momentum, epsilon=epsilon, weight_decay=weight_decay
    )
    value, felt = 0.5, list[float]()
    for gradient in found:
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        felt.append(gradient + weight_decay * value)
        squares = [
            decay ** (j + 1)
            + sum((1 - decay) * decay ** (j - i) * felt[i] ** 2 for i in range(j + 1))
            for j in range(len(felt))
        ]
        last = len(felt) - 1
        value -= sum(
            momentum ** (last - j) * lr * felt[j] / math.sqrt(squares[j] + epsilon)
            for j in range(len(felt))
        )
        assert parameter.item() == pytest.approx(value, rel=1e-9, abs=1e-12)


def test_epsilon_one_is_not_pytorchs() -> None:
    """Small gradients where the mean square starts at zero.

    About lr g here, and lr g / (sqrt(1 - decay) abs(g) + 1) there.
    """
    ours, theirs = (nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(2))
    optimizers = (
        RMSProp([ours], 1.0, epsilon=1.0),
        torch.optim.RMSprop([theirs], 1.0, alpha=0.9, eps=1.0),
    )
    for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
        parameter.grad = torch.full((1,), 0.5, dtype=torch.float64)
        optimizer.step()
    assert ours.item() == pytest.approx(-0.5 / math.sqrt(0.9 + 0.1 * 0.25 + 1.0))
    assert abs(ours.item() - theirs.item()) > 0.05


def test_a_closure_computes_the_gradient() -> None:
    parameter = nn.Parameter(torch.ones(1))

    def closure() -> torch.Tensor:
        loss = (3 * parameter).sum()
        loss.backward()
        return loss

    assert RMSProp([parameter], 0.1).step(closure) == 3.0
    assert parameter.item() < 1.0


def test_without_a_gradient_nothing_moves() -> None:
    parameter = nn.Parameter(torch.ones(2))
    RMSProp([parameter], 0.1, weight_decay=0.5).step()
    assert parameter.tolist() == [1.0, 1.0]
