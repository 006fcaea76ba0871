"""BinaryConnect: signs, stochastic signs, straight gradients, and real weights within H."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.support.checks.quantizers import gradients, weight

from edgeq.training.quantizers.binary.binary_connect import (
    BinaryConnect,
    StochasticBinaryConnect,
    glorot,
)
from edgeq.training.quantizers.catalogue import build_weight

VALUES = [-99.0, -1.0, -0.2, -0.0, 0.0, 0.3, 1.0, 99.0]
SIGNS = [-1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0, 1.0]


@given(st.floats(2.0**-8, 4, width=32))
def test_the_value_is_eq_1(scale: float) -> None:
    made = BinaryConnect(scale=scale)
    assert made(torch.tensor(VALUES)).tolist() == [sign * scale for sign in SIGNS]
    encoded = made.encode(torch.tensor(VALUES))
    assert encoded.integers.tolist() == SIGNS
    assert (encoded.low, encoded.high, encoded.scale.item()) == (-1, 1, scale)


@pytest.mark.parametrize("made", [BinaryConnect(), StochasticBinaryConnect()], ids=["sign", "coin"])
def test_the_gradient_at_the_binary_weight_is_applied_to_the_real_one(made: BinaryConnect) -> None:
    by_x, _ = gradients(made, None, VALUES)
    assert by_x.tolist() == [1.0] * len(VALUES)


def test_real_weights_are_clipped_after_each_step() -> None:
    w = torch.tensor([-3.0, -0.5, 0.2, 7.0], requires_grad=True)
    BinaryConnect(scale=0.5).post_optimizer_step(w)
    assert w.tolist() == pytest.approx([-0.5, -0.5, 0.2, 0.5])


class TestCoins:
    def draws(self, value: float, scale: float = 1.0, n: int = 20_000) -> torch.Tensor:
        torch.manual_seed(0)
        drawn: torch.Tensor = StochasticBinaryConnect(scale=scale).train()(torch.full((n,), value))
        return drawn

    @pytest.mark.parametrize("value", [-0.9, -0.5, 0.0, 0.1, 0.75])
    def test_the_odds_are_the_hard_sigmoid(self, value: float) -> None:
        """Eq. 2, 3; within five standard deviations of the mean of 20000 draws."""
        found, odds = self.draws(value), (value + 1) / 2
        assert set(found.tolist()) == {-1.0, 1.0}
        assert (found == 1).float().mean().item() == pytest.approx(
            odds, abs=5 * math.sqrt(odds * (1 - odds) / 20_000)
        )

    @pytest.mark.parametrize(
        ("value", "sign"), [(-1.0, -1.0), (-9.0, -1.0), (1.0, 1.0), (9.0, 1.0)]
    )
    def test_beyond_the_range_there_is_no_chance(self, value: float, sign: float) -> None:
        assert set(self.draws(value).tolist()) == {sign}

    def test_the_mean_is_the_weight_in_units_of_the_scale(self) -> None:
        assert self.draws(0.1, scale=0.5).mean().item() == pytest.approx(
            0.1, abs=5 * 0.5 / math.sqrt(20_000)
        )

    def test_evaluation_is_by_sign(self) -> None:
        made = StochasticBinaryConnect().eval()
        assert made(torch.tensor(VALUES)).tolist() == SIGNS
        assert made.train().encode(torch.tensor(VALUES)).integers.tolist() == SIGNS, (
            "what is exported is what is evaluated"
        )

    def test_the_seed_of_torch_decides(self) -> None:
        made, w = StochasticBinaryConnect().train(), weight()
        torch.manual_seed(3)
        first = made(w)
        torch.manual_seed(3)
        assert torch.equal(made(w), first)
        assert not torch.equal(made(w), first)


def test_without_rounding_it_is_the_papers_second_method_of_testing() -> None:
    made = StochasticBinaryConnect().eval()
    made.rounding = False
    assert made(torch.tensor([-0.5, 0.25])).tolist() == [-0.5, 0.25]


def test_glorots_coefficient_counts_inputs_and_outputs() -> None:
    assert glorot(torch.zeros(10, 20)) == pytest.approx(math.sqrt(1.5 / 30))
    assert glorot(torch.zeros(8, 4, 3, 3)) == pytest.approx(math.sqrt(1.5 / (12 * 9)))


@pytest.mark.parametrize("name", ["binary-connect", "binary-connect-stochastic"])
def test_by_name_the_scale_fits_the_layer(name: str) -> None:
    made = build_weight(name, 1, weight(), channels_axis=None, normalized=False)
    assert made.encode(weight()).scale.item() == pytest.approx(glorot(weight()))


def test_training_moves_a_sign() -> None:
    """A weight that is pushed across zero changes sign, by updates far below its two values."""
    w = torch.nn.Parameter(torch.tensor([[0.05, -0.05]]))
    made = build_weight("binary-connect", 1, w, channels_axis=None, normalized=False)
    optimizer = torch.optim.SGD([w], lr=0.02)
    for _ in range(10):
        optimizer.zero_grad()
        (made(w) * torch.tensor([1.0, -1.0])).sum().backward()
        optimizer.step()
        made.post_optimizer_step(w)
    assert made.encode(w).integers.tolist() == [[-1.0, 1.0]]
